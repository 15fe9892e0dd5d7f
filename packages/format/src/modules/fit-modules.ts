import type { UnetModule } from './unet-structure.js';
import { settle, type Unknowns, unifyWidth, unknowns, widthValue } from './unify-widths.js';

/** Shapes of one up and down factor, as a list without names holds them. */
export type PairShape = readonly [up: readonly number[], down: readonly number[]];

export type Fit =
	| { readonly fits: true; readonly paths: readonly string[]; readonly widths: ReadonlyMap<string, number> }
	| { readonly fits: false; readonly at: number; readonly why: string };

/**
 * Lay a list of pairs along modules, in order: do all shapes agree with one choice of widths? `given` are widths
 * that are known (from a base). Ends at the first pair that does not fit, saying which and why.
 */
export function fitModules(modules: Iterable<UnetModule>, pairs: readonly PairShape[], given?: ReadonlyMap<string, number>): Fit {
	const state = unknowns(given);
	const paths: string[] = [];
	for (const module of modules) {
		if (module.onlyIfChanged && module.in !== undefined) {
			const [out, inn] = [widthValue(module.out, state.known), widthValue(module.in, state.known)];
			if (out !== undefined && out === inn) continue;
		}
		const at = paths.length;
		const pair = pairs[at];
		if (pair === undefined) return { fits: false, at, why: `the list ends after ${at} pairs, where ${module.path} should follow` };
		const why = misfit(module, pair, state);
		if (why !== undefined) return { fits: false, at, why: `pair ${at} does not fit ${module.path}: ${why}` };
		paths.push(module.path);
	}
	const at = paths.length;
	if (at < pairs.length) return { fits: false, at, why: `the list has ${pairs.length} pairs, but only ${at} modules are targets` };
	if (!settle(state)) return { fits: false, at: 0, why: 'the widths of the blocks contradict each other' };
	return { fits: true, paths, widths: state.known };
}

function misfit(module: UnetModule, [up, down]: PairShape, state: Unknowns): string | undefined {
	const rank = module.kernel === 0 ? 2 : 4;
	const kind = module.kernel === 0 ? 'a linear layer' : `a ${module.kernel}x${module.kernel} convolution`;
	if (up.length !== rank || down.length !== rank) return `up (${up.join(', ')}) and down (${down.join(', ')}) are not those of ${kind}`;
	if (up[1] !== down[0]) return `up (${up.join(', ')}) and down (${down.join(', ')}) have different ranks`;
	if (rank === 4 && (down[2] !== module.kernel || down[3] !== module.kernel || up[2] !== 1 || up[3] !== 1)) {
		return `down (${down.join(', ')}) is not that of ${kind}`;
	}
	const [out, inn] = [up[0] ?? 0, down[1] ?? 0];
	if (module.in !== undefined && !unifyWidth(module.in, inn, state)) return `${inn} inputs${instead(widthValue(module.in, state.known))}`;
	if (!unifyWidth(module.out, out, state)) return `${out} outputs${instead(widthValue(module.out, state.known))}`;
	return undefined;
}

function instead(expected: number | undefined): string {
	return expected === undefined ? ' are impossible there' : ` where ${expected} are expected`;
}
