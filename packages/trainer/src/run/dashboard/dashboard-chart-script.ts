/**
 * The page's chart: plain JavaScript that runs in the browser as it stands here. `chart(figure)` gives an object whose
 * `draw(series, options)` draws lines into the figure's svg; a series is {name, color, points: [[x, y], ...], faint, dots}.
 */
export const CHART_SCRIPT: string = `
const NS = 'http://www.w3.org/2000/svg';
function el(name, attributes, text) {
	const node = document.createElementNS(NS, name);
	for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
	if (text !== undefined) node.textContent = text;
	return node;
}
function short(x) {
	if (x === null || x === undefined || !Number.isFinite(x)) return '-';
	if (x === 0) return '0';
	const size = Math.abs(x);
	if (size < 1e-3 || size >= 1e6) return x.toExponential(2).replace('e+', 'e');
	return String(Number(x.toPrecision(4)));
}
/* About n round numbers from low to high. */
function ticks(low, high, n) {
	const raw = (high - low) / n;
	const power = 10 ** Math.floor(Math.log10(raw));
	const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
	const out = [];
	for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) out.push(k * step);
	return out;
}
function logTicks(low, high) {
	const out = [];
	const from = Math.floor(Math.log10(low) - 1e-9);
	const to = Math.ceil(Math.log10(high) + 1e-9);
	for (let e = from; e <= to; e++) for (const m of to - from > 3 ? [1] : [1, 2, 5]) out.push(m * 10 ** e);
	return out.filter((v) => v >= low * 0.999 && v <= high * 1.001);
}
/* Points that one pixel column has are drawn as their least and greatest, so that nothing is lost in long runs. */
function thin(points, columns) {
	if (points.length <= columns * 4) return points;
	const out = [];
	const size = points.length / columns;
	for (let c = 0; c < columns; c++) {
		const part = points.slice(Math.floor(c * size), Math.floor((c + 1) * size));
		if (part.length === 0) continue;
		let low = part[0], high = part[0];
		for (const p of part) { if (p[1] < low[1]) low = p; if (p[1] > high[1]) high = p; }
		out.push(...(low[0] <= high[0] ? [low, high] : [high, low]));
	}
	out.push(points[points.length - 1]);
	return out;
}
function chart(figure, height) {
	const svg = figure.querySelector('svg');
	const tip = figure.querySelector('.tip');
	let last, pointer;
	function draw(series, { log = false, zero = false, steps = 0 } = {}) {
		last = [series, { log, zero, steps }];
		const width = Math.max(240, svg.clientWidth || 240);
		svg.setAttribute('viewBox', '0 0 ' + width + ' ' + height);
		svg.setAttribute('height', height);
		const ok = (y) => Number.isFinite(y) && (!log || y > 0);
		const shown = series.map((s) => ({ ...s, points: s.points.filter(([, y]) => y !== null && ok(y)) })).filter((s) => s.points.length > 0);
		svg.replaceChildren();
		if (shown.length === 0) {
			svg.append(el('text', { x: width / 2, y: height / 2, 'text-anchor': 'middle' }, 'nothing yet'));
			return;
		}
		/* The scale leaves out the highest half percent of faint lines: one wild step would flatten everything. */
		const ys = shown.flatMap((s) => {
			const all = s.points.map((p) => p[1]);
			return s.faint && all.length > 50 ? all.sort((a, b) => a - b).slice(0, Math.ceil(all.length * 0.995)) : all;
		});
		let low = ys.reduce((a, b) => Math.min(a, b)), high = ys.reduce((a, b) => Math.max(a, b));
		if (zero && !log) low = Math.min(0, low);
		if (low === high) { const d = Math.abs(low) * 0.1 || 1; low -= log ? 0 : d; high += d; if (log) low /= 1.1; }
		const xs = shown.flatMap((s) => [s.points[0][0], s.points[s.points.length - 1][0]]);
		const x0 = Math.min(...xs), x1 = Math.max(...xs, x0 + 1);
		const left = 52, right = 10, top = 6, bottom = 20;
		const px = (x) => left + ((x - x0) / (x1 - x0)) * (width - left - right);
		const f = log ? Math.log : (y) => y;
		const py = (y) => top + (1 - (f(y) - f(low)) / (f(high) - f(low))) * (height - top - bottom);
		for (const y of log ? logTicks(low, high) : ticks(low, high, 4)) {
			svg.append(el('line', { class: 'grid', x1: left, x2: width - right, y1: py(y), y2: py(y) }));
			svg.append(el('text', { x: left - 6, y: py(y) + 4, 'text-anchor': 'end' }, short(y)));
		}
		for (const x of ticks(x0, x1, Math.max(2, Math.floor(width / 110)))) {
			const at = px(x);
			svg.append(el('text', { x: at, y: height - 5, 'text-anchor': at > width - 24 ? 'end' : at < left + 12 ? 'start' : 'middle' }, String(Math.round(x))));
		}
		const clip = (y) => Math.max(top, Math.min(height - bottom, y));
		for (const s of shown) {
			const d = thin(s.points, width).map(([x, y], i) => (i ? 'L' : 'M') + px(x).toFixed(1) + ' ' + clip(py(y)).toFixed(1)).join('');
			svg.append(el('path', { d, stroke: s.color, class: s.faint ? 'faint' : '' }));
			if (s.dots) for (const [x, y] of s.points.slice(-200)) svg.append(el('circle', { cx: px(x), cy: clip(py(y)), r: 3, fill: s.color }));
			/* A single point has no line. */
			else if (s.points.length === 1) svg.append(el('circle', { cx: px(s.points[0][0]), cy: clip(py(s.points[0][1])), r: 2.5, fill: s.color }));
		}
		if (pointer !== undefined) {
			const wanted = x0 + ((pointer * width - left) / (width - left - right)) * (x1 - x0);
			const near = shown.map((s) => s.points.reduce((a, b) => (Math.abs(b[0] - wanted) < Math.abs(a[0] - wanted) ? b : a)));
			const at = near.reduce((a, b) => (Math.abs(b[0] - wanted) < Math.abs(a[0] - wanted) ? b : a))[0];
			svg.append(el('line', { class: 'cross', x1: px(at), x2: px(at), y1: top, y2: height - bottom }));
			tip.textContent = 'step ' + at + ': ' + shown.map((s, i) => s.name + ' ' + short(near[i][1])).join(', ');
		} else tip.textContent = '';
	}
	svg.addEventListener('pointermove', (event) => { const box = svg.getBoundingClientRect(); pointer = (event.clientX - box.left) / box.width; if (last) draw(...last); });
	svg.addEventListener('pointerleave', () => { pointer = undefined; if (last) draw(...last); });
	new ResizeObserver(() => { if (last) draw(...last); }).observe(svg);
	return { draw };
}
`;
