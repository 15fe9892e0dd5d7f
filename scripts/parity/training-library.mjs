/** What the training parts share: the built trainer, and the gradient engines that run here. */
import { enginesOf } from './runtime-library.mjs';

const load = (name) => import(new URL(`../../packages/trainer/dist/${name}`, import.meta.url).href);

export const trainer = await load('index.js');

/**
 * Both gradient paths: name, engine, most steps of a run (the slow ones do the first few). `PARITY_GRADIENTS` (default
 * "onnx tfjs-cpu:2") chooses: `onnx`, `float64`, `tfjs-cpu`, `tfjs-wasm`, each with `:STEPS` if wanted.
 */
export async function gradientEngines(names = (process.env.PARITY_GRADIENTS ?? 'onnx tfjs-cpu:2').split(' ')) {
	return Promise.all(
		names.map(async (whole) => {
			const [name, steps] = whole.split(':');
			const [kind, backend] = name.split('-');
			if (kind === 'tfjs') {
				const { createTfjsGradientEngine } = await load('gradients/tfjs/index.js');
				return [name, await createTfjsGradientEngine({ backend }), steps && Number(steps)];
			}
			const [[, engine]] = await enginesOf([kind]);
			return [name, trainer.engineGradients(engine), steps && Number(steps)];
		}),
	);
}
