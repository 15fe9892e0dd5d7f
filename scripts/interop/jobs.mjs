import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { decodeWithHelp, openInput, orderOf } from '../parity/inputs.mjs';
import { FormatError, planConversion, plannedFileBytes } from '../parity/library.mjs';
import { baseOf } from '../parity/reference-base.mjs';

/** Every way we write an adapter that some real loader reads: layout, container, and the file name that loaders look for. */
const TARGETS = [
	['diffusers', 'safetensors', 'pytorch_lora_weights.safetensors'],
	['diffusers', 'torch-zip', 'pytorch_lora_weights.bin'],
	['diffusers-old', 'safetensors', 'pytorch_lora_weights.safetensors'],
	['diffusers-old', 'torch-zip', 'pytorch_lora_weights.bin'],
	['diffusers-attn-procs', 'safetensors', 'pytorch_lora_weights.safetensors'],
	['diffusers-attn-procs', 'torch-zip', 'pytorch_lora_weights.bin'],
	['peft', 'safetensors', 'adapter_model.safetensors'],
	['peft', 'torch-zip', 'adapter_model.bin'],
	['kohya', 'safetensors', 'adapter.safetensors'],
	['kohya', 'torch-zip', 'adapter.pt'],
	['cloneofsimo', 'safetensors', 'adapter.safetensors'],
	['cloneofsimo', 'torch-zip', 'adapter.pt'],
];

/** Refusals that name a loss: the converter's right, counted but not judged here. */
const REFUSALS = new Set(['E_LOSS', 'E_UNSUPPORTED_ADAPTER', 'E_ALPHA_NO_SLOT', 'E_MODULE_UNRESOLVED', 'E_MODULE_ORDER']);

/** The case whose factors every dtype holds exactly, so that a cast changes no delta. */
const CAST_CASE = 'same_kohya';
const DTYPES = ['F32', 'F16', 'BF16'];

/** Delta error allowed where nothing is rounded but the loader's own float32 alpha: bound times max(1, absmax). */
const EXACT = 1e-6;

/**
 * Convert every case of a reference set's `adapters` to every target, into folders under `out`.
 *
 * @param {string} root the folder `adapters` of a reference set
 * @param {string} out
 * @param {string | undefined} only part of a job's name
 */
export async function makeJobs(root, out, only) {
	const manifest = JSON.parse(readFileSync(path.join(root, 'manifest.json'), 'utf8'));
	const base = await baseOf(root, manifest.base);
	const made = { jobs: [], refused: [], failed: [] };
	for (const spec of manifest.cases) {
		const digest = JSON.parse(readFileSync(path.join(root, spec.expected), 'utf8'));
		for (const [to, container, file] of TARGETS) {
			for (const dtype of [undefined, ...(spec.case === CAST_CASE ? DTYPES : [])]) {
				const name = `${spec.case}>${to}.${container === 'safetensors' ? 'safetensors' : 'torch'}${dtype === undefined ? '' : `.${dtype}`}`;
				if (only !== undefined && !name.includes(only)) continue;
				const folder = path.join(out, name.replaceAll('>', '-'));
				await makeJob({ made, root, base, spec, digest, name, folder, to, container, file, dtype });
			}
		}
	}
	return made;
}

async function makeJob(how) {
	const { made, root, spec, digest, name, folder, to, container, file, dtype } = how;
	const order = orderOf(spec.producer);
	let written;
	try {
		const input = await openInput(path.join(root, spec.files[0].file));
		const read = decodeWithHelp(input, { base: how.base?.inventory, order });
		written = planHeld(read.input, { to, container, dtype, ...read.options });
	} catch (error) {
		if (error instanceof FormatError && REFUSALS.has(error.code))
			made.refused.push({ name, to, container, from: spec.layout, code: error.code, why: error.message });
		else
			made.failed.push({
				name,
				why: error instanceof FormatError ? `${error.code} ${error.message}` : String(error?.stack ?? error).slice(0, 400),
			});
		return;
	}
	const { plan, how: alpha, folded } = written;
	mkdirSync(folder, { recursive: true });
	const stem = path.parse(file).name;
	const files = [];
	for (const planned of plan.files) {
		const target = path.join(folder, planned.suffix === '' ? file : stem + planned.suffix);
		writeFileSync(target, await plannedFileBytes(planned));
		const entry = { path: target, container: planned.container, top: planned.top, metadata: [...planned.metadata] };
		files.push({ ...entry, tensors: await fingerprints(planned.tensors) });
	}
	for (const [side, text] of plan.sideFiles) writeFileSync(path.join(folder, side), text);
	const beside = files.map((f) => path.basename(f.path)).filter((f) => f !== file);
	const modules = Object.values(digest.modules);
	made.jobs.push({
		id: name,
		case: spec.case,
		from: spec.layout,
		to,
		container,
		dtype: dtype ?? 'stored',
		folded,
		how: alpha,
		folder,
		main: path.join(folder, file),
		textEncoder: beside.includes(`${stem}.text_encoder.pt`) ? path.join(folder, `${stem}.text_encoder.pt`) : undefined,
		embeddings: beside.filter((f) => f.includes('_emb')),
		tokens: embeddingValues(digest),
		files,
		first: !made.jobs.some((j) => j.from === spec.layout && j.to === to && j.container === container),
		containersOnly: containersOnly(made, spec, to, container),
		components: [...new Set(modules.map((m) => m.component))].sort(),
		count: modules.filter((m) => m.component === 'unet').length,
		families: [...new Set(modules.map((m) => m.algo))].sort(),
		order,
		tolerance: folded ? Math.max(EXACT, digest.tolerance?.abs ?? EXACT) : EXACT,
		digest: path.join(root, spec.expected),
		deltas: path.join(root, spec.deltas),
		unet: path.dirname(path.join(root, how.spec.baseUnet ?? 'tiny-sd/unet/config.json')),
		textEncoderBase: path.join(root, 'tiny-sd/text_encoder'),
	});
}

/**
 * Loaders that read both containers differ in nothing but `torch.load`, whose result is compared byte for byte for every
 * file; so one adapter of each source layout goes through the whole loader in the other container.
 */
function containersOnly(made, spec, to, container) {
	if (container === 'safetensors' || to === 'cloneofsimo') return false;
	return made.jobs.some((j) => j.from === spec.layout && j.to === to && j.container === container);
}

/**
 * As a person would do it: plainly; with the scaling folded where the target has no slot for it; and, for a torch file,
 * which has no header, without the header entries (and nothing else) of the source.
 *
 * @returns {{ plan: import('../../packages/format/dist/index.js').ConversionPlan, how: string, folded: boolean }}
 */
function planHeld(input, options) {
	const fold = { alpha: 'fold' };
	const headless = { allowLoss: true };
	const tries = [{}, ...(options.to === 'kohya' ? [] : [fold])];
	if (options.container === 'torch-zip') tries.push(options.to === 'kohya' ? headless : { ...fold, ...headless });
	let first;
	for (const more of tries) {
		if (more.alpha === 'fold' && more.allowLoss === undefined && first?.code !== 'E_ALPHA_NO_SLOT') continue;
		try {
			const plan = planConversion(input, { ...options, ...more });
			// A W_LOSS of a plan that needed no permission is a remark (the order of a list, say).
			const lost = more.allowLoss ? plan.warnings.filter((w) => w.code === 'W_LOSS' && w.message.startsWith('Lost: ')) : [];
			if (lost.some((w) => !/^(metadata|config):/.test(w.at ?? ''))) continue;
			const how = [more.alpha === 'fold' ? '--alpha fold' : '', lost.length > 0 ? '--allow-loss' : ''].filter(Boolean).join(' ');
			return { plan, how, folded: more.alpha === 'fold' };
		} catch (error) {
			first ??= error;
			if (!(error instanceof FormatError) || !REFUSALS.has(error.code)) throw error;
		}
	}
	throw first;
}

/** Name, dtype, shape and sha256 of every tensor that the plan promises, for a reader that shares no code with us. */
async function fingerprints(tensors) {
	const out = [];
	for (const [name, tensor] of tensors) {
		const sha256 = createHash('sha256')
			.update(await tensor.read())
			.digest('hex');
		out.push([name, { dtype: tensor.dtype, shape: tensor.shape, sha256 }]);
	}
	return out;
}

function embeddingValues(digest) {
	return digest.embeddings?.values ?? undefined;
}
