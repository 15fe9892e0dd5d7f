/** Problems and values of the `modelspec.*` entries. Source: Stability-AI/ModelSpec@fe8dc60 README (spec 1.0.1), LAYOUTS §7.3. */

const PREFIX = 'modelspec.';

/** Entries a file that follows the spec must have. `modelspec.` is left out. */
const MUST: readonly string[] = ['sai_model_spec', 'architecture', 'implementation', 'title'];

const KNOWN: ReadonlySet<string> = new Set([
	...MUST,
	'resolution',
	'description',
	'author',
	'date',
	'hash_sha256',
	'implementation_version',
	'license',
	'usage_hint',
	'thumbnail',
	'tags',
	'merged_from',
	'trigger_phrase',
	'prediction_type',
	'timestep_range',
	'encoder_layer',
	'preprocessor',
	'is_negative_embedding',
	'unet_dtype',
	'vae_dtype',
]);

/** The `modelspec.*` entries of a header, by their name without the prefix. */
export interface ModelSpec {
	/** True when there is at least one entry. */
	readonly present: boolean;
	readonly fields: ReadonlyMap<string, string>;
	/** One sentence for each rule of the spec that the entries break. */
	readonly problems: readonly string[];
}

/** Read and check the entries. Never throws. */
export function readModelSpec(metadata: ReadonlyMap<string, string>): ModelSpec {
	const fields = new Map<string, string>();
	for (const [key, value] of metadata) if (key.startsWith(PREFIX)) fields.set(key.slice(PREFIX.length), value);
	return { present: fields.size > 0, fields, problems: fields.size === 0 ? [] : problemsOf(fields) };
}

/** Facts that modelspec entries can be written from. `title` and `architecture` are needed, the rest is optional. */
export interface ModelSpecInput {
	readonly title: string;
	/** e.g. `stable-diffusion-v1/lora`. See `ARCHITECTURES`. */
	readonly architecture: string;
	readonly implementation?: string | undefined;
	readonly resolution?: { readonly width: number; readonly height: number } | undefined;
	readonly description?: string | undefined;
	readonly author?: string | undefined;
	/** ISO 8601. */
	readonly date?: string | undefined;
	readonly license?: string | undefined;
	readonly tags?: readonly string[] | undefined;
	readonly triggerPhrase?: string | undefined;
	readonly mergedFrom?: readonly string[] | undefined;
	/** SHA-256 of the data section, 64 hex. */
	readonly modelHash?: string | undefined;
}

/** Base family (`BaseGuess.family`) -> architecture of its adapters. Source: sd-scripts@48d368f library/sai_model_spec.py. */
export const ARCHITECTURES: ReadonlyMap<string, string> = new Map([
	['sd1', 'stable-diffusion-v1/lora'],
	['sd2', 'stable-diffusion-v2-512/lora'],
	['sdxl', 'stable-diffusion-xl-v1-base/lora'],
	['sd3', 'stable-diffusion-3-medium/lora'],
	['flux', 'flux-1-dev/lora'],
]);

/** The entries for a header, spec 1.0.1, in the order of the spec. */
export function writeModelSpec(input: ModelSpecInput): Map<string, string> {
	const out = new Map<string, string>();
	const put = (key: string, value: string | undefined): void => {
		if (value !== undefined && value !== '') out.set(`${PREFIX}${key}`, value);
	};
	put('sai_model_spec', '1.0.1');
	put('architecture', input.architecture);
	put('implementation', input.implementation ?? 'diffusers');
	put('title', input.title);
	put('resolution', input.resolution === undefined ? undefined : `${input.resolution.width}x${input.resolution.height}`);
	put('description', input.description);
	put('author', input.author);
	put('date', input.date);
	put('hash_sha256', input.modelHash === undefined ? undefined : `0x${input.modelHash}`);
	put('license', input.license);
	put('tags', input.tags?.join(','));
	put('merged_from', input.mergedFrom?.join(','));
	put('trigger_phrase', input.triggerPhrase);
	return out;
}

function problemsOf(fields: ReadonlyMap<string, string>): string[] {
	const problems: string[] = [];
	for (const key of MUST) if ((fields.get(key) ?? '').trim() === '') problems.push(`modelspec.${key} is missing; the spec requires it.`);
	const check = (key: string, ok: (value: string) => boolean, expected: string): void => {
		const value = fields.get(key);
		if (value !== undefined && value !== '' && !ok(value)) problems.push(`modelspec.${key} is not ${expected}.`);
	};
	check('sai_model_spec', (v) => /^1\.\d+\.\d+$/.test(v), 'a version of the form 1.0.1');
	check('resolution', (v) => /^\d{1,5}x\d{1,5}$/.test(v), 'WIDTHxHEIGHT');
	check('date', (v) => /^\d{4}-\d{2}-\d{2}/.test(v) && !Number.isNaN(Date.parse(v)), 'an ISO 8601 date');
	check('hash_sha256', (v) => /^0x[0-9a-f]{64}$/.test(v), '0x and 64 lower-case hex digits');
	check('prediction_type', (v) => v === 'v' || v === 'epsilon', 'v or epsilon');
	check('timestep_range', (v) => /^\d{1,5},\d{1,5}$/.test(v), 'MIN,MAX');
	check('encoder_layer', (v) => /^\d{1,3}$/.test(v), 'a whole number');
	check('is_negative_embedding', (v) => v === 'true' || v === 'false', 'true or false');
	check('thumbnail', (v) => v.startsWith('data:image/'), 'a data:image/ URL');
	for (const key of fields.keys()) {
		if (!KNOWN.has(key) && !key.startsWith('hash_')) problems.push(`modelspec.${key.slice(0, 60)} is no name of the spec.`);
	}
	return problems;
}
