/**
 * A training on the fake model in a process of its own: `node child-run.mjs FOLDER STEPS [FULL_AT]`. Goes on from what is
 * there, and at the end writes the adapter's bytes to `final.bin`. At step FULL_AT the disk becomes "full": the largest file that
 * the process may write is 100 bytes from then on.
 */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { FormatError } from '@lorakit/format';
import { openMetricsLog } from '../../../src/io/run/metrics-log.js';
import { checkResume, findCheckpoint } from '../../../src/io/run/resume-checkpoint.js';
import { openRunFolder } from '../../../src/io/run/run-folder.js';
import { EmaModel } from '../../../src/optimizers/ema-model.js';
import { trainRun } from '../../../src/run/train-run.js';
import { validationBatches } from '../../../src/run/validation-batches.js';
import { fakeExamples, fakeModel, fakeRun } from '../../run/fake-run.js';
import { fakeIdentity, fakeStore } from './fake-store.js';

const [, , folder = '', steps = '0', fullAt = '-1'] = process.argv;

try {
	const open = openRunFolder(folder);
	const found = await findCheckpoint(folder);
	if (found !== undefined) checkResume(found, fakeIdentity(), false);
	const log = openMetricsLog(path.join(folder, 'metrics.jsonl'));
	const model = fakeModel();
	const plain = model.gradients;
	model.gradients = async (batch) => {
		// Time for a kill to arrive.
		await new Promise((resolve) => setTimeout(resolve, 2));
		return plain(batch);
	};
	const run = trainRun(
		fakeRun({
			model,
			steps: Number(steps),
			timing: { rule: 'diffusers', accumulation: 2 },
			averageOf: (m) => new EmaModel({ decay: 0.9 }, m.tensors),
			optimizerOptions: { kind: 'prodigy' },
			rates: () => ({ unet: 1, text_encoder: 1 }),
			validation: {
				every: 5,
				keepBest: true,
				batches: () =>
					validationBatches({
						examples: fakeExamples(),
						indices: [0, 5],
						draws: 2,
						batchSize: 4,
						seed: 3,
						minTimestep: 0,
						maxTimestep: 1000,
						noiseOffset: 0,
						scalingFactor: 0.18215,
						text: async () => ({ ids: [] }),
					}),
			},
			checkpoints: { every: 1, save: fakeStore(folder, { keep: 2 }), resumed: found?.name },
			resume: found?.snapshot,
		}),
	);
	for (;;) {
		const { done, value } = await run.next();
		if (done === true) {
			fs.writeFileSync(
				path.join(folder, 'final.bin'),
				Buffer.concat([...value.adapter.values()].map((v) => Buffer.from(v.slice().buffer))),
			);
			break;
		}
		log.write(value);
		if (value.type === 'step' && value.step === Number(fullAt)) execFileSync('prlimit', ['--fsize=100', '--pid', String(process.pid)]);
	}
	log.close();
	open.close();
} catch (error) {
	process.stdout.write(`${error instanceof FormatError ? error.code : 'BUG'} ${String(error)}\n`);
	process.exitCode = 1;
}
