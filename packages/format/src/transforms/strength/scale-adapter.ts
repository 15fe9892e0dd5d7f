import type { Adapter, TargetModule } from '../../adapter.js';
import { FormatError, quote, type Warning } from '../../errors.js';
import { trueNetworkMetadata } from '../resize/resize-metadata.js';
import { type Strength, strengthOf } from './adapter-use.js';
import { scaleModule } from './scale-module.js';

export interface ScaleAdapterOptions {
	/** `alpha` (default): through alpha where the module has one; `fold`: into the factors. */
	readonly how?: 'alpha' | 'fold' | undefined;
}

/** An adapter with another strength, and what could not be exact. */
export interface ScaledAdapter {
	readonly adapter: Adapter;
	/** Modules whose strength changed. */
	readonly changed: number;
	/** Modules whose factors were multiplied and rounded, because they have no alpha. */
	readonly folded: number;
	readonly warnings: readonly Warning[];
}

/**
 * The same adapter as if it were used at `strength`: deltas times the number of each module. Alpha changes where it says the
 * strength, so that no factor is touched; kohya's header entries about alpha are made true. Lazy.
 *
 * @throws {FormatError} `E_UNSUPPORTED_ADAPTER` for a module whose delta is not linear in what is stored (DoRA, OFT, BOFT,
 *   whole values); `E_LORA_ALPHA` where alpha was not read; `E_LORA_DTYPE`.
 */
export function scaleAdapter(adapter: Adapter, strength: Strength, options: ScaleAdapterOptions = {}): ScaledAdapter {
	let changed = 0;
	let folded = 0;
	const modules = adapter.modules.map((module): TargetModule => {
		const by = strengthOf(strength, module);
		if (by === 1) return module;
		if (module.rule === 'unread') {
			throw new FormatError('E_LORA_ALPHA', `The alpha of ${module.component} ${module.path} was not read; read the file with values.`, {
				at: module.path,
			});
		}
		const scaled = scaleModule(module, by, options.how);
		if (scaled === undefined) {
			const what = module.factors.magnitude === undefined ? module.family : `DoRA ${module.family}`;
			throw new FormatError(
				'E_UNSUPPORTED_ADAPTER',
				`${module.component} ${quote(module.path)} is ${what}, whose strength is not linear in its factors, so no file of it can say ${by}; give the strength where the adapter is used ("lora fuse", "lora merge --base").`,
				{ at: module.path },
			);
		}
		changed++;
		if (scaled.scaling === module.scaling) folded++;
		return scaled;
	});
	const warnings: Warning[] = [];
	if (changed === 0)
		warnings.push({ code: 'W_ALPHA_IGNORED', message: 'No module has another strength than before; the output says what the input says.' });
	return {
		adapter: { ...adapter, modules, metadata: changed === 0 ? adapter.metadata : trueNetworkMetadata(adapter.metadata, modules) },
		changed,
		folded,
		warnings,
	};
}
