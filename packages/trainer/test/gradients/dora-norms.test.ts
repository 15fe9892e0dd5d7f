import { createFloat64Engine, type HostTensor, type Session } from '@lorakit/runtime';
import { describe, expect, it } from 'vitest';
import { engineGradients } from '../../src/gradients/engine-gradients.js';
import { generator, largest, STEP as WIDE_STEP } from './support.js';
import { type Recording, recordStep } from './tiny-shapes-run.js';

/** Of the largest entry of all gradients: central differences of the float64 engine, as in whole-model.test.ts. */
const DIFFERENCES = 1e-9;
/** Convolutions bend the loss more: at a quarter of the step what the fifth derivative leaves is 256 times less, 2e-11. */
const STEP = WIDE_STEP / 4;

/**
 * DoRA holds the norms of the rows fixed when it differentiates, as PEFT does (`weight_norm.detach()`), so plain differences
 * are not its gradient. Here they are held fixed for the differences too: what a factor adds to a row's norm, its magnitude
 * is given as well, so that magnitude / norm stays what it was.
 */
describe('gradients of factors under DoRA are differences at fixed norms', { timeout: 300_000 }, () => {
	it.each([
		['attention and feed-forward', { rank: 3, unet: 'attention+ff', dora: true }],
		['convolutions', { rank: 1, unet: 'conv', dora: true }],
	] as const)('%s', async (_, targets) => {
		const step = await recordStep({ targets });
		const float64 = createFloat64Engine();
		const { gradients } = await (
			await engineGradients(float64).load(step.graph, { loss: 'loss', wrt: step.wrt, memory: 'lean' }, step.parameters)
		).run(step.feeds);
		const session = await float64.load(step.graph, step.parameters);
		const most = largest(...Object.values(gradients).map(({ data }) => data));
		const next = generator(4);
		const names = step.wrt.filter((name) => !name.endsWith(':magnitude') && (targets.unet !== 'conv' || name.includes('conv')));
		for (let i = 0; i < 4; i++) {
			const name = names[Math.floor(next() * names.length)] ?? '';
			const entry = Math.floor(next() * (step.feeds[name]?.data.length ?? 0));
			const want = await difference(session, step, name, entry);
			expect(Math.abs(Number(gradients[name]?.data[entry]) - want), `${name} ${entry}`).toBeLessThanOrEqual(DIFFERENCES * most);
		}
	});
});

async function difference(session: Session, { feeds, parameters }: Recording, name: string, entry: number): Promise<number> {
	const module = name.slice(0, name.lastIndexOf(':'));
	const weight = await parameters.read(`${module}.weight`);
	const feed = (part: string): HostTensor => feeds[`${module}:${part}`] as HostTensor;
	const before = rowNorms(weight, feed('down'), feed('up'));
	const at = async (by: number): Promise<number> => {
		const { shape, data } = feeds[name] as HostTensor;
		const moved: HostTensor = { dtype: 'f64', shape, data: Float64Array.from(data, (x, i) => (i === entry ? x + by : x)) };
		const after = rowNorms(weight, name.endsWith(':down') ? moved : feed('down'), name.endsWith(':up') ? moved : feed('up'));
		const magnitude = feed('magnitude');
		const scaled = Float64Array.from(magnitude.data, (m, row) => (m * (after[row] ?? 0)) / (before[row] ?? 0));
		const { loss } = await session.run({
			...feeds,
			[name]: moved,
			[`${module}:magnitude`]: { dtype: 'f64', shape: magnitude.shape, data: scaled },
		});
		return loss?.data[0] ?? Number.NaN;
	};
	const central = async (h: number): Promise<number> => ((await at(h)) - (await at(-h))) / (2 * h);
	return (4 * (await central(STEP / 2)) - (await central(STEP))) / 3;
}

/** Norms of the rows of weight + up down, in float64. */
function rowNorms(weight: Float32Array, down: HostTensor, up: HostTensor): Float64Array {
	const [rank = 0] = down.shape;
	const [out = 0] = up.shape;
	const columns = weight.length / out;
	return Float64Array.from({ length: out }, (_, row) => {
		let sum = 0;
		for (let c = 0; c < columns; c++) {
			let x = weight[row * columns + c] ?? 0;
			for (let r = 0; r < rank; r++) x += (up.data[row * rank + r] ?? 0) * (down.data[r * columns + c] ?? 0);
			sum += x * x;
		}
		return Math.sqrt(sum);
	});
}
