import type { Adapter } from './adapter.js';
import { quote, type Warning } from './errors.js';
import { readKohyaSs } from './metadata/kohya-ss.js';

/** What a header says that the tensors do not, and JSON that is none. The tensors are always right. */
export function metadataWarnings(metadata: ReadonlyMap<string, string>, adapter: Adapter | undefined): Warning[] {
	const ss = readKohyaSs(metadata);
	const warnings: Warning[] = ss.broken.map((key) => ({
		code: 'W_METADATA_PARSE',
		message: `Header entry ${quote(key)} should be JSON and cannot be read; it is carried as it stands.`,
		at: key,
	}));
	if (adapter === undefined) return warnings;
	const contradicts = (key: string, message: string): void => {
		warnings.push({ code: 'W_METADATA_CONTRADICTS', message, at: key });
	};
	const ranks = new Set<number>();
	const alphas = new Set<number>();
	for (const module of adapter.modules) {
		if (module.rank !== undefined) ranks.add(module.rank);
		if (module.alphaSource === 'tensor' && module.alpha !== null) alphas.add(module.alpha);
	}
	const { networkDim: dim, networkAlpha: alpha } = ss;
	if (typeof dim === 'number' && ranks.size > 0 && !ranks.has(dim) && !isSplit(dim, ranks, ss.networkArgs)) {
		contradicts('ss_network_dim', `Header entry "ss_network_dim" says ${dim}, but the tensors have rank ${few(ranks)}; the tensors count.`);
	}
	// alpha in a 16-bit file is rounded: half a percent is no contradiction. 0 was stored as the rank.
	if (
		typeof alpha === 'number' &&
		alpha !== 0 &&
		alphas.size > 0 &&
		![...alphas].some((a) => Math.abs(a - alpha) <= 0.005 * Math.abs(alpha))
	) {
		contradicts(
			'ss_network_alpha',
			`Header entry "ss_network_alpha" says ${alpha}, but the tensors have alpha ${few(alphas)}; the tensors count.`,
		);
	}
	const said = baseSaid(ss.baseModelVersion, ss.v2);
	const { family, confidence, label } = adapter.base;
	if (said !== undefined && family !== 'unknown' && confidence >= 0.8 && !fits(said, family)) {
		contradicts(
			ss.baseModelVersion === undefined ? 'ss_v2' : 'ss_base_model_version',
			`The header says ${said} (${quote(ss.baseModelVersion ?? `ss_v2 ${String(ss.v2)}`)}), but shapes and names say ${label}; the tensors count.`,
		);
	}
	return warnings;
}

/** sd-scripts' split_qkv stacks three or four ranks of `ss_network_dim` into one tensor. */
function isSplit(dim: number, ranks: ReadonlySet<number>, args: ReadonlyMap<string, unknown> | undefined): boolean {
	return args?.has('split_qkv') === true && dim > 0 && [...ranks].every((rank) => rank % dim === 0);
}

function fits(said: string, family: string): boolean {
	return (
		said === family.replace(/-refiner$/, '') ||
		(family === 'sd1or2' && (said === 'sd1' || said === 'sd2')) ||
		(said === 'flux' && family === 'chroma')
	);
}

function few(values: ReadonlySet<number>): string {
	const sorted = [...values].sort((a, b) => a - b);
	return sorted.length > 6 ? `${sorted.slice(0, 6).join(', ')} and others` : sorted.join(', ');
}

/** Base family that `ss_base_model_version` or `ss_v2` names; undefined when it names none we know. LAYOUTS §7.1. */
function baseSaid(version: string | undefined, v2: boolean | undefined): string | undefined {
	if (version !== undefined) {
		if (/^sd_?(v1|1[._])/.test(version)) return 'sd1';
		if (/^sd_?(v2|2[._])/.test(version)) return 'sd2';
		if (version.startsWith('sdxl')) return 'sdxl';
		if (version.startsWith('sd3')) return 'sd3';
		if (version.startsWith('flux1')) return 'flux';
		return undefined;
	}
	return v2 === true ? 'sd2' : undefined;
}
