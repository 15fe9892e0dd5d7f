import type { TargetModule } from '../../adapter.js';
import { asRecord, ssJson } from '../../metadata/ss-values.js';

/**
 * Kohya's header entries about the network, made true for `modules`: `ss_network_dim` and `ss_network_alpha` (one
 * number, or `Dynamic` as kohya's resize says where there is more than one), `conv_dim` and `conv_alpha` in
 * `ss_network_args`, and its `algo` where the family changed. Only entries that are there are rewritten; what other
 * layouts say about ranks they build from the modules anyway.
 */
export function trueNetworkMetadata(metadata: ReadonlyMap<string, string>, modules: readonly TargetModule[]): ReadonlyMap<string, string> {
	const ranked = modules.filter((m) => m.rank !== undefined);
	if (ranked.length === 0) return metadata;
	const conv = ranked.filter(isConvolution);
	const linear = conv.length === ranked.length ? ranked : ranked.filter((m) => !isConvolution(m));
	const out = new Map(metadata);
	const args = asRecord(ssJson(metadata.get('ss_network_args')).value);
	// Without a rank of their own, convolutions have that of all.
	const main = args?.has('conv_dim') === true ? linear : ranked;
	if (out.has('ss_network_dim')) out.set('ss_network_dim', common(main.map((m) => m.rank ?? null)));
	if (out.has('ss_network_alpha')) out.set('ss_network_alpha', common(main.map((m) => m.alpha ?? m.rank ?? null)));
	if (args === undefined) return out;
	const next = new Map(args);
	if (conv.length > 0) {
		if (next.has('conv_dim')) next.set('conv_dim', common(conv.map((m) => m.rank ?? null)));
		if (next.has('conv_alpha')) next.set('conv_alpha', common(conv.map((m) => m.alpha ?? m.rank ?? null)));
	}
	const algo = next.get('algo');
	if ((algo === 'loha' || algo === 'lokr') && !ranked.some((m) => m.family === algo)) next.set('algo', 'lora');
	if ([...next].some(([key, value]) => args.get(key) !== value)) out.set('ss_network_args', JSON.stringify(Object.fromEntries(next)));
	return out;
}

function isConvolution(module: TargetModule): boolean {
	const shape = (module.factors.mid ?? module.factors.down)?.shape ?? [];
	return shape.slice(2).some((d) => d !== 1);
}

function common(values: readonly (number | null)[]): string {
	const [first = null] = values;
	return first !== null && values.every((v) => v === first) ? String(first) : 'Dynamic';
}
