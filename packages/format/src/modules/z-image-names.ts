import { type NamingRow, type NamingTable, namingTable, renameRow } from './naming-table.js';
import { zImageTemplates } from './transformer-templates.js';

const BLOCKS = ['layers.#', 'noise_refiner.#', 'context_refiner.#'];

function fused(block: string): NamingRow[] {
	return [
		{ native: `${block}.attention.qkv`, parts: ['to_q', 'to_k', 'to_v'].map((leaf) => `${block}.attention.${leaf}`), rule: 'equal' },
		renameRow(`${block}.attention.out`, `${block}.attention.to_out.0`),
		renameRow(`${block}.attention.q_norm`, `${block}.attention.norm_q`),
		renameRow(`${block}.attention.k_norm`, `${block}.attention.norm_k`),
	];
}

/**
 * Z-Image: its own names <-> diffusers' (LAYOUTS.md §2.15). Only the attention differs; files that have it split
 * already, and everything else, keep their names.
 */
export const Z_IMAGE_NAMES: NamingTable = namingTable([
	...BLOCKS.flatMap(fused),
	...zImageTemplates()
		.filter((t) => !/\.attention\.(qkv|out|[qk]_norm)$/.test(t))
		.map((t) => renameRow(t, t)),
]);
