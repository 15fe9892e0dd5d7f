import { FormatError, quote } from '../errors.js';
import { nearestName } from '../nearest-name.js';
import { bflControl } from './bfl-control.js';
import { cloneofsimoList } from './cloneofsimo-list.js';
import { cloneofsimoSafetensors } from './cloneofsimo-safetensors.js';
import { diffusers } from './diffusers.js';
import { diffusersAttnProcs } from './diffusers-attn-procs.js';
import { diffusersOld } from './diffusers-old.js';
import { diffusersOldPrefixed } from './diffusers-old-prefixed.js';
import { kohya } from './kohya.js';
import type { Layout } from './layout.js';
import { lycorisStandalone } from './lycoris-standalone.js';
import { nativeDotted } from './native-dotted.js';
import { omi } from './omi.js';
import { peft } from './peft.js';
import { xlabsFlux } from './xlabs-flux.js';

/** Every layout. Order matters only for tables: detection asks them all. */
export const LAYOUTS: readonly Layout[] = [
	cloneofsimoList,
	cloneofsimoSafetensors,
	diffusers,
	diffusersOld,
	diffusersOldPrefixed,
	diffusersAttnProcs,
	peft,
	kohya,
	lycorisStandalone,
	omi,
	nativeDotted,
	xlabsFlux,
	bflControl,
];

/** The layout with this id or alias. @throws {FormatError} `E_USAGE` with the nearest ids. */
export function findLayout(id: string, container?: 'safetensors' | 'torch-zip'): Layout {
	const wanted = id === 'cloneofsimo' ? (container === 'safetensors' ? 'cloneofsimo-safetensors' : 'cloneofsimo-list') : id;
	for (const layout of LAYOUTS) if (layout.id === wanted || layout.aliases.includes(wanted)) return layout;
	const names = [...LAYOUTS.flatMap((l) => [l.id, ...l.aliases]), 'cloneofsimo', 'keep'];
	const near = nearestName(id, names);
	const hint = near === undefined ? '' : ` Did you mean ${near}?`;
	throw new FormatError('E_USAGE', `${quote(id)} is no layout; known are ${layoutIds().join(', ')}.${hint}`);
}

/** Ids for --from. */
export function layoutIds(): readonly string[] {
	return LAYOUTS.map((l) => l.id);
}

/** Ids for --to: layouts that can be written, `cloneofsimo` for both of its containers, and `keep`. */
export function targetIds(): readonly string[] {
	const ids = LAYOUTS.filter((l) => l.encode !== undefined && !l.id.startsWith('cloneofsimo-')).map((l) => l.id);
	return [...ids, 'cloneofsimo', 'keep'];
}
