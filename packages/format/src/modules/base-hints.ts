/** A header entry that names a base model. */
export interface BaseHint {
	readonly key: string;
	readonly value: string;
	readonly family: string;
}

/** Entries that say something about the base, most trustworthy first. */
const KEYS = ['ss_base_model_version', 'modelspec.architecture', 'base_model_name_or_path', 'base_model', 'ss_v2', 'ss_sd_model_name'];

/** Words in such an entry, the more special first. */
const WORDS: readonly (readonly [RegExp, string])[] = [
	[/xl.*refiner/i, 'sdxl-refiner'],
	[/sd_?xl|stable-diffusion-xl/i, 'sdxl'],
	[/stable-diffusion-3|sd_?v?3|sd35/i, 'sd3'],
	[/flux[-_. ]?2/i, 'flux2'],
	[/flux/i, 'flux'],
	[/chroma/i, 'chroma'],
	[/qwen[-_ ]?image/i, 'qwen-image'],
	[/hunyuan[-_ ]?video/i, 'hunyuan-video'],
	[/z[-_]image|lumina/i, 'z-image'],
	[/(^|[^a-z])wan[-_. ]?[0-9v]/i, 'wan'],
	[/hidream/i, 'hidream'],
	[/anima-/i, 'anima'],
	[/stable-diffusion-v?2|sd_?v2|sd-?2/i, 'sd2'],
	[/stable-diffusion-v?1|sd_?v1|sd-?1|stable-diffusion-v1-5/i, 'sd1'],
];

/** What the header says about the base, by our family ids. Values that say nothing we know are left out. */
export function baseHints(metadata: ReadonlyMap<string, string>): readonly BaseHint[] {
	const hints: BaseHint[] = [];
	for (const key of KEYS) {
		const value = metadata.get(key)?.slice(0, 512);
		if (value === undefined) continue;
		if (key === 'ss_v2') {
			if (value === 'True') hints.push({ key, value, family: 'sd2' });
			continue;
		}
		const word = WORDS.find(([pattern]) => pattern.test(value));
		if (word !== undefined) hints.push({ key, value, family: word[1] });
	}
	return hints;
}
