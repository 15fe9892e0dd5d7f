import { createFloat64Engine } from '@lorakit/runtime';
import { createOnnxEngine } from '@lorakit/runtime/engines/onnx';
import { beforeAll, describe, expect, it } from 'vitest';
import { engineGradients } from '../../src/gradients/engine-gradients.js';
import type { GradientEngine, Gradients, TrainingMemory } from '../../src/gradients/gradient-engine.js';
import { createTfjsGradientEngine } from '../../src/gradients/tfjs/index.js';
import { apart, differences, generator, largest } from './support.js';
import { type Recording, type RecordingOptions, recordStep } from './tiny-shapes-run.js';

/** Everything that training can ask of tiny-shapes, a batch of two. */
const STEPS: readonly (readonly [string, RecordingOptions])[] = [
	['attention', { targets: { rank: 4, unet: 'attention' } }],
	['LoCon at odd sizes, masked', { targets: { rank: 2, alpha: 1, unet: 'conv' }, size: [5, 3], masked: true }],
	['DoRA on attention and feed-forward', { targets: { rank: 3, unet: 'attention+ff', dora: true } }],
	['DoRA on convolutions', { targets: { rank: 1, unet: 'conv', dora: true } }],
	['the text encoder and two learned tokens', { targets: { rank: 4, unet: 'attention', textEncoder: 'attention+mlp' }, tokens: 2 }],
];

/** Of the largest entry of all gradients. */
const SINGLE = 1e-5;

/** Central differences and the float64 engine, of the same: 1e-16 of a loss of about 1, by a step of 1e-3. */
const DIFFERENCES = 1e-9;

const ENGINES: readonly (readonly [string, TrainingMemory, () => Promise<GradientEngine>])[] = [
	['onnx', 'fast', async () => engineGradients(await createOnnxEngine())],
	['onnx', 'lean', async () => engineGradients(await createOnnxEngine())],
	['tfjs cpu', 'fast', () => createTfjsGradientEngine({ backend: 'cpu' })],
	['tfjs cpu', 'lean', () => createTfjsGradientEngine({ backend: 'cpu' })],
	['tfjs wasm', 'fast', () => createTfjsGradientEngine({ backend: 'wasm' })],
	['tfjs wasm', 'lean', () => createTfjsGradientEngine({ backend: 'wasm' })],
];

const SOME = ENGINES.filter(([name, memory]) => ['onnx fast', 'tfjs cpu fast', 'tfjs wasm lean'].includes(`${name} ${memory}`));

describe.each(STEPS)('a training step of tiny-shapes: %s', { timeout: 300_000 }, (_, options) => {
	const float64 = createFloat64Engine();
	let step: Recording;
	let want: Gradients;
	beforeAll(async () => {
		step = await recordStep(options);
		want = await run(engineGradients(float64), step, 'fast');
	});

	it('has gradients that are those of central differences', async () => {
		const session = await float64.load(step.graph, step.parameters);
		const most = largest(...Object.values(want.gradients).map(({ data }) => data));
		const next = generator(9);
		// DoRA takes no gradient through the norms of the rows, which factors change; differences do.
		const names = options.targets.dora === true ? step.wrt.filter((name) => name.endsWith(':magnitude')) : step.wrt;
		for (let i = 0; i < 3; i++) {
			const name = names[Math.floor(next() * names.length)] ?? '';
			const mine = want.gradients[name]?.data ?? [];
			const entry = Math.floor(next() * mine.length);
			const [difference] = await differences(session, step.feeds, name, [entry]);
			expect(Math.abs(Number(mine[entry]) - Number(difference)), `${name} ${entry}`).toBeLessThanOrEqual(DIFFERENCES * most);
		}
	});

	it('has the same gradients where what is inside blocks is computed again', async () => {
		const lean = await run(engineGradients(float64), step, 'lean');
		expect(lean).toEqual(want);
	});

	// All of them on the step that has everything; three on the others.
	it.each(options.tokens === undefined ? SOME : ENGINES)('has the same gradients by %s, %s', async (_, memory, create) => {
		const got = await run(await create(), step, memory);
		const most = largest(...Object.values(want.gradients).map(({ data }) => data));
		expect(most).toBeGreaterThan(0);
		for (const name of step.wrt) {
			expect(got.gradients[name]?.shape).toEqual(step.feeds[name]?.shape);
			expect(apart(got.gradients[name]?.data, want.gradients[name]?.data), name).toBeLessThanOrEqual(SINGLE * most);
		}
		for (const [name, { data }] of Object.entries(want.outputs)) {
			expect(apart(got.outputs[name]?.data, data), name).toBeLessThanOrEqual(SINGLE * largest(data));
		}
	});
});

async function run(engine: GradientEngine, { graph, feeds, wrt, parameters }: Recording, memory: TrainingMemory): Promise<Gradients> {
	const session = await engine.load(graph, { loss: 'loss', wrt, memory }, parameters);
	try {
		return await session.run(feeds);
	} finally {
		await session.close();
	}
}
