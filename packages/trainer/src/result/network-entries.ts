import { pythonFloat } from './python-value.js';

/** What kohya's header says about a module. */
export interface NetworkModule {
	readonly rank: number;
	/** Of the delta at strength 1. */
	readonly scaling: number;
	/** A convolution with a kernel larger than 1 x 1. */
	readonly convolution: boolean;
	readonly dora: boolean;
}

/**
 * `ss_network_*`: the kind of network, its rank and its alpha, as the readers of kohya's files expect them: alpha so that
 * alpha / rank is the scaling (so alpha sqrt(rank) for rsLoRA, as LyCORIS saves it), `Dynamic` where there is more than one.
 * Convolutions have `conv_dim` and `conv_alpha` of their own. Source: kohya-ss/sd-scripts train_network.py, networks/lora.py;
 * LyCORIS kohya.py for `dora_wd`.
 */
export function networkEntries(modules: readonly NetworkModule[]): ReadonlyMap<string, string> {
	const out = new Map<string, string>();
	if (modules.length === 0) return out;
	const conv = modules.filter(({ convolution }) => convolution);
	const linear = conv.length === modules.length ? modules : modules.filter(({ convolution }) => !convolution);
	const dora = modules.some((m) => m.dora);
	const args: Record<string, string> = {};
	if (dora) Object.assign(args, { algo: conv.length > 0 ? 'locon' : 'lora', dora_wd: 'True' });
	if (conv.length > 0) Object.assign(args, { conv_dim: rankText(conv), conv_alpha: alphaText(conv) });
	out.set('ss_network_module', dora ? 'lycoris.kohya' : 'networks.lora');
	out.set('ss_network_dim', rankText(linear));
	out.set('ss_network_alpha', alphaText(linear));
	if (Object.keys(args).length > 0) out.set('ss_network_args', JSON.stringify(args));
	return out;
}

function rankText(modules: readonly NetworkModule[]): string {
	return common(modules.map(({ rank }) => String(rank)));
}

function alphaText(modules: readonly NetworkModule[]): string {
	return common(modules.map(({ rank, scaling }) => pythonFloat(scaling * rank)));
}

function common(values: readonly string[]): string {
	const [first = ''] = values;
	return values.every((value) => value === first) ? first : 'Dynamic';
}
