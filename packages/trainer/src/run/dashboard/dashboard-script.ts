/** The page's program: takes the lines of `metrics.jsonl` as server-sent events and shows them. Plain JavaScript. */
export const DASHBOARD_SCRIPT: string = String.raw`
const $ = (id) => document.getElementById(id);
const color = (name) => 'var(--' + name + ')';
const GROUPS = { unet: 'a', text_encoder: 'b', tokens: 'c' };
const charts = { loss: chart($('loss'), 300), validation: chart($('validation'), 190), rates: chart($('rates'), 190), norm: chart($('norm'), 190) };
let lines, since, waiting = false, phase = 'training';
reset();
function reset() { lines = { step: [], validation: [], pictures: [], start: undefined, end: undefined, checkpoint: undefined, overflow: 0 }; }
/* A resumed run did what was after its first step again. */
function take(line) {
	since = line.at;
	if (line.type === 'start') {
		for (const kind of ['step', 'validation', 'pictures']) lines[kind] = lines[kind].filter((l) => l.step <= line.step);
		lines.end = undefined;
		lines.start = line;
	} else if (line.type === 'overflow') lines.overflow++;
	else if (line.type === 'end' || line.type === 'checkpoint') lines[line.type] = line;
	else if (lines[line.type]) lines[line.type].push(line);
}
function duration(seconds) {
	if (!Number.isFinite(seconds)) return '-';
	if (seconds < 1) return Math.round(seconds * 1000) + ' ms';
	if (seconds < 60) return seconds.toFixed(seconds < 10 ? 1 : 0) + ' s';
	const minutes = Math.round(seconds / 60);
	return minutes < 60 ? minutes + ' min' : Math.floor(minutes / 60) + ' h ' + String(minutes % 60).padStart(2, '0') + ' min';
}
/* An exponential mean that begins without a bend: the weights that are there are divided out. */
function smoothed(points, keep) {
	let mean = 0, weight = 0;
	return points.filter(([, y]) => y !== null).map(([x, y]) => {
		mean = mean * keep + y * (1 - keep);
		weight = weight * keep + (1 - keep);
		return [x, mean / weight];
	});
}
function legend(figure, series) {
	const box = figure.querySelector('.keys');
	box.replaceChildren(...series.filter((s) => !s.faint && s.points.length > 0).map((s) => {
		const key = document.createElement('span');
		key.className = 'key';
		const mark = document.createElement('i');
		mark.style.background = s.color;
		key.append(mark, s.name);
		return key;
	}));
}
function show(name, series, options) {
	legend($(name), series);
	charts[name].draw(series, options);
}
function facts(rows) {
	$('facts').replaceChildren(...rows.filter(([, value]) => value !== undefined).map(([name, value]) => {
		const box = document.createElement('div');
		const dt = document.createElement('dt');
		const dd = document.createElement('dd');
		dt.textContent = name;
		dd.textContent = value;
		box.append(dt, dd);
		return box;
	}));
}
let shownPictures = '';
function pictures() {
	/* Rows by prompt, the newest first. Drawn again only when there are new ones, for scrolling would be lost. */
	const state = lines.pictures.map((l) => l.step).join();
	if (state === shownPictures) return;
	shownPictures = state;
	const rows = new Map();
	for (const line of lines.pictures) for (const picture of line.pictures) {
		const key = picture.prompt + '\u0000' + picture.seed;
		if (!rows.has(key)) rows.set(key, { prompt: picture.prompt, seed: picture.seed, items: [] });
		rows.get(key).items.unshift({ step: line.step, ...picture });
	}
	$('pictures').hidden = rows.size === 0;
	$('rows').replaceChildren(...[...rows.values()].map(({ prompt, seed, items }) => {
		const row = document.createElement('div');
		row.className = 'row';
		const text = document.createElement('p');
		text.textContent = prompt + '  (seed ' + seed + ')';
		const strip = document.createElement('div');
		strip.className = 'strip';
		strip.append(...items.slice(0, 60).map((item) => {
			const cell = document.createElement('div');
			const image = document.createElement('img');
			image.loading = 'lazy';
			image.src = '/picture/' + encodeURIComponent(item.file);
			image.alt = prompt + ', step ' + item.step;
			if (item.width <= 128) image.className = 'small';
			cell.append(image, 'step ' + item.step);
			return cell;
		}));
		row.append(text, strip);
		return row;
	}));
}
function render() {
	waiting = false;
	const steps = lines.step;
	const last = steps[steps.length - 1];
	const total = lines.start ? lines.start.steps : 0;
	const keep = Number($('keep').value) / 1000;
	const losses = steps.map((l) => [l.step, l.loss]);
	const smooth = smoothed(losses, keep);
	const best = lines.validation.reduce((a, b) => (b.loss !== null && (a === undefined || b.loss < a.loss) ? b : a), undefined);
	$('bar').max = total || 1;
	$('bar').value = last ? last.step : lines.start ? lines.start.step : 0;
	const ended = lines.end;
	const reasons = { steps: 'finished', patience: 'finished early: validation no longer improved', stopped: 'stopped; it can be resumed' };
	const quiet = (Date.now() - since) / 1000;
	const slow = last ? Math.max(60, last.seconds * 20) : 600;
	$('state').className = !ended && quiet > slow ? 'bad' : 'soft';
	$('state').textContent = ended ? reasons[ended.reason] || ended.reason : !lines.start ? 'waiting for the first step' : quiet > slow ? 'no news for ' + duration(quiet) + ': stopped?' : phase === 'inversion' ? 'learning the token: the first of two phases' : 'training';
	facts([
		['Step', last ? last.step + ' of ' + total : total ? '0 of ' + total : '-'],
		['Epoch', last ? String(last.epoch + 1) : undefined],
		['Loss, smoothed', smooth.length ? short(smooth[smooth.length - 1][1]) : '-'],
		['Best validation', best ? short(best.loss) + ' at ' + best.step : undefined],
		['Time a step', last ? duration(median(steps.slice(-25).map((l) => l.seconds))) : '-'],
		['Remaining', ended ? 'none' : last ? 'about ' + duration(last.remainingSeconds) : '-'],
		['Checkpoint', lines.checkpoint ? 'step ' + lines.checkpoint.step : undefined],
		['Steps left out (fp16)', lines.overflow ? String(lines.overflow) : undefined],
	]);
	show('loss', [
		{ name: 'this step', color: color('a'), points: losses, faint: true },
		{ name: 'smoothed', color: color('a'), points: smooth },
	], { log: $('log').checked });
	const measured = lines.validation.map((l) => [l.step, l.loss]);
	$('validation').hidden = measured.length === 0;
	$('charts').className = measured.length === 0 ? 'charts two' : 'charts';
	if (measured.length > 0) show('validation', [{ name: 'measured', color: color('b'), points: measured, dots: true }], {});
	const groups = [...new Set(steps.flatMap((l) => Object.keys(l.rates)))];
	show('rates', groups.map((g) => ({ name: g.replace('_', ' '), color: color(GROUPS[g] || 'a'), points: steps.filter((l) => g in l.rates).map((l) => [l.step, l.rates[g]]) })), { zero: true });
	const norms = steps.map((l) => [l.step, l.gradientNorm]);
	show('norm', [
		{ name: 'this step', color: color('c'), points: norms, faint: true },
		{ name: 'smoothed', color: color('c'), points: smoothed(norms, keep) },
	], { log: $('log').checked });
	pictures();
}
function median(values) {
	const sorted = [...values].sort((a, b) => a - b);
	return sorted[Math.floor(sorted.length / 2)];
}
function later() { if (!waiting) { waiting = true; requestAnimationFrame(render); } }
const events = new EventSource('/events');
events.addEventListener('history', (event) => { reset(); const { phase: shown, lines: all } = JSON.parse(event.data); phase = shown; for (const line of all) take(line); later(); });
events.addEventListener('line', (event) => { take(JSON.parse(event.data)); later(); });
events.onerror = () => { if (!lines.end) { $('state').className = 'bad'; $('state').textContent = 'the program that shows this page is gone'; } };
for (const id of ['keep', 'log']) $(id).addEventListener('input', later);
setInterval(() => { if (!lines.end && events.readyState === 1) later(); }, 10000);
render();
`;
