/**
 * The first step of some scenarios in float16, with the loss scaled: no further from float64 than twice what torch's own autocast is
 * (fixtures/training/half-precision.json, made by scripts/reference/make-half-references.py), and than `MOST`.
 */
import path from 'node:path';
import { openOnnx, recorded, runtime, within } from './runtime-library.mjs';
import { json, short, square, trainer } from './training-library.mjs';
import { batchOf, prepare } from './training-references.mjs';

const TRAINING = path.join(import.meta.dirname, '../../fixtures/training');
/** Roundings fall otherwise: sums are made in another order. */
const TIMES = 2;
/** Half a unit in float16's last place: what rounding the prediction alone may do to a loss. */
const ROUNDING = 2 ** -11;
/** Whatever torch loses, which is a fifth of DoRA's gradients: sixteen such roundings, and the angle that they can make. */
const MOST = { l2: 16 * ROUNDING, one_minus_cosine: (16 * ROUNDING) ** 2 / 2, largest: 16 * ROUNDING };

/** @param {import('./checks.mjs').Checks} checks @param set as of `partTrainingReferences` @param {readonly string[] | undefined} only */
export async function halfHolds(checks, set, only) {
	const { loss_scale: scale, scenarios } = json(path.join(TRAINING, 'half-precision.json'));
	const half = trainer.engineGradients(await openOnnx({ precision: 'fp16' }));
	const exact = trainer.engineGradients(runtime.createFloat64Engine());
	for (const [name, torch] of Object.entries(scenarios)) {
		const record = json(path.join(TRAINING, `references/${name}.json`));
		if (!set.bases.has(record.base) || only?.includes(name) === false) continue;
		const where = `half precision ${name}`;
		await checks.run(where, 'runs', async () => {
			const got = await firstStep(checks, where, set, name, record, half, scale);
			const want = await firstStep(checks, where, set, name, record, exact, 1);
			const lossBar = Math.min(2 * ROUNDING, Math.max(ROUNDING, TIMES * Math.abs(torch.loss_f16 / torch.loss_f64 - 1)));
			checks.check(where, 'the loss', within(Math.abs(got.loss / torch.loss_f64 - 1), lossBar));
			const figures = distances(got.gradients, want.gradients);
			for (const [key, mine] of Object.entries(figures)) {
				checks.check(where, `gradients: ${key}`, within(mine, Math.min(MOST[key], TIMES * torch.f16_vs_f64[key])));
			}
			// Rounding shows that it was computed in float16 at all.
			checks.check(where, 'is half precision', figures.l2 > 10 * torch.f32_vs_f64.l2 ? undefined : `${figures.l2}`);
			const theirs = torch.f16_vs_f64;
			console.log(
				`  ${where}: loss ${short(Math.abs(got.loss / torch.loss_f64 - 1))} (torch ${short(Math.abs(torch.loss_f16 / torch.loss_f64 - 1))}); gradients l2 ${short(figures.l2)} (${short(theirs.l2)}), 1 - cosine ${short(figures.one_minus_cosine)} (${short(theirs.one_minus_cosine)})`,
			);
			return undefined;
		});
	}
}

/** Loss and gradients of the first micro-batch, the scale taken off again. */
async function firstStep(checks, where, set, name, record, engine, scale) {
	const file = recorded(path.join(TRAINING, `references/${name}.safetensors`));
	const { model } = await prepare(checks, where, set, record, file, engine);
	const batch = batchOf(set, record, record.batches[0]);
	const scaler = new trainer.LossScaler({ init_scale: scale });
	const { loss, gradients } = await model.gradients({ ...batch, weights: batch.weights.map((w) => w * scale) });
	await model.close();
	const finite = scaler.unscale(gradients);
	checks.check(where, 'gradients are finite', finite ? undefined : 'not all');
	return { loss: loss / scale, gradients };
}

/** Of all entries together, as the record has them. */
function distances(gradients, exact) {
	const join = (map, names) => Float64Array.from(names.flatMap((n) => [...map.get(n)]));
	const names = [...exact.keys()];
	const [one, two] = [join(gradients, names), join(exact, names)];
	const most = (x) => x.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
	const apart = one.map((x, i) => x - two[i]);
	const dot = one.reduce((sum, x, i) => sum + x * two[i], 0);
	return {
		l2: Math.sqrt(square(apart) / square(two)),
		one_minus_cosine: 1 - dot / Math.sqrt(square(one) * square(two)),
		largest: most(apart) / most(two),
	};
}
