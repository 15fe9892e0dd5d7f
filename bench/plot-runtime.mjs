/**
 * `node bench/plot-runtime.mjs RESULT.json OUT.svg`: what a step costs against the side of the picture and against the
 * number of adapters, from `BENCH_OUT` of `npm run bench:torch`. Readable in light and dark.
 */
import fs from 'node:fs';

const [source, target] = process.argv.slice(2);
const { sizes, adapters, step, torchStep } = JSON.parse(fs.readFileSync(source, 'utf8'));
const [WIDTH, HEIGHT, LEFT, TOP, BOTTOM] = [340, 240, 44, 34, 40];

function panel(x0, title, xLabel, series, xs) {
	const most = Math.max(...series.flatMap(({ points }) => points.map(([, y]) => y))) * 1.15;
	const [x1, xn] = [Math.min(...xs), Math.max(...xs)];
	const px = (x) => x0 + LEFT + ((x - x1) / (xn - x1 || 1)) * (WIDTH - LEFT - 24);
	const py = (y) => TOP + (1 - y / most) * (HEIGHT - TOP - BOTTOM);
	const unit = most > 8 ? 4 : most > 3 ? 1 : 0.5;
	const lines = [];
	for (let y = 0; y <= most; y += unit) {
		lines.push(`<line class="grid" x1="${x0 + LEFT}" x2="${x0 + WIDTH - 24}" y1="${py(y)}" y2="${py(y)}"/>`);
		lines.push(`<text class="tick" x="${x0 + LEFT - 6}" y="${py(y) + 4}" text-anchor="end">${y} s</text>`);
	}
	for (const x of xs) lines.push(`<text class="tick" x="${px(x)}" y="${HEIGHT - BOTTOM + 16}" text-anchor="middle">${x}</text>`);
	for (const { name, points, dashed } of series) {
		const path = points.map(([x, y], i) => `${i === 0 ? 'M' : 'L'}${px(x).toFixed(1)} ${py(y).toFixed(1)}`).join('');
		lines.push(`<path class="${dashed ? 'torch' : 'ours'}" d="${path}"/>`);
		for (const [x, y] of points)
			lines.push(`<circle class="${dashed ? 'torch' : 'ours'}" cx="${px(x).toFixed(1)}" cy="${py(y).toFixed(1)}" r="3"/>`);
		const [x, y] = points.at(-1);
		lines.push(`<text class="name" x="${px(x)}" y="${py(y) + (dashed ? -9 : 18)}" text-anchor="end">${name}</text>`);
	}
	lines.push(`<text class="title" x="${x0 + LEFT}" y="18">${title}</text>`);
	lines.push(`<text class="tick" x="${(x0 + LEFT + x0 + WIDTH - 24) / 2}" y="${HEIGHT - 8}" text-anchor="middle">${xLabel}</text>`);
	return lines.join('\n');
}

const all = [...sizes, { size: 512, ours: step, torch: torchStep }].sort((a, b) => a.size - b.size);
const bySize = [{ name: 'lorakit', points: all.map((s) => [s.size, s.ours / 1000]) }];
if (all.every((s) => s.torch > 0)) bySize.push({ name: 'torch', dashed: true, points: all.map((s) => [s.size, s.torch / 1000]) });
const byCount = [{ name: 'lorakit', points: adapters.map((a) => [a.count, a.ms / 1000]) }];
const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${2 * WIDTH} ${HEIGHT}" width="${2 * WIDTH}" height="${HEIGHT}" font-family="system-ui, sans-serif" font-size="12">
<style>
text { fill: #24292f } .tick { fill: #57606a; font-size: 11px } .title { font-weight: 600 }
.grid { stroke: #d0d7de } path { fill: none; stroke-width: 2 } path.ours { stroke: #0969da } circle.ours { fill: #0969da } path.torch { stroke: #bc4c00; stroke-dasharray: 5 3 } circle.torch { fill: #bc4c00 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .tick { fill: #9198a1 } .grid { stroke: #3d444d } path.ours { stroke: #4493f8 } circle.ours { fill: #4493f8 } path.torch { stroke: #f0883e } circle.torch { fill: #f0883e } }
</style>
${panel(
	0,
	'one step of an SD1.5-size UNet, batch 2',
	'side of the picture, pixels',
	bySize,
	all.map((s) => s.size),
)}
${panel(
	WIDTH,
	'the same at 512 px, with adapters over it',
	'adapters of rank 8 on all attention',
	byCount,
	adapters.map((a) => a.count),
)}
</svg>
`;
fs.writeFileSync(target, svg);
