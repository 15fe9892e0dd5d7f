import { partAttention } from './runtime-attention.mjs';
import { partModels } from './runtime-models.mjs';
import { partPipeline } from './runtime-pipeline.mjs';
import { partRandom } from './runtime-random.mjs';
import { partSchedulers } from './runtime-schedulers.mjs';
import { partTokenizer } from './runtime-tokenizer.mjs';

/** Everything under `inference`. @param {import('./checks.mjs').Checks} checks @param {string} root */
export async function partInference(checks, root) {
	for (const part of [partTokenizer, partRandom, partSchedulers, partModels, partPipeline, partAttention]) {
		const [passed, failed] = [checks.passed, checks.failed];
		await part(checks, root);
		console.log(`  ${part.name}: ${checks.passed - passed} passed, ${checks.failed - failed} failed`);
	}
}
