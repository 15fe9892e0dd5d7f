import { fileKey } from './check-leaves.js';
import { FormatError } from './errors.js';
import { assembleModules, type Part } from './layouts/assemble.js';
import { splitLeaf } from './layouts/leaves.js';
import type { StateDict } from './state-dict.js';

/** Errors listed at most: a file of two million broken names needs no two million lines. */
const MAX_ERRORS = 200;

/**
 * Every module that is broken in itself, not only the first: tensors are grouped by the module part of their
 * names, whatever the layout, and each group is assembled alone. Used after a decoder refused the file.
 */
export function brokenModules(file: StateDict): FormatError[] {
	const groups = new Map<string, Part[]>();
	for (const [key, tensor] of file.tensors) {
		const split = splitLeaf(key);
		const named = split === undefined ? fileKey(key) : undefined;
		const module = split?.module ?? (named?.adapterName === undefined ? undefined : `${named.module} ${named.adapterName}`);
		const role = split?.leaf.role ?? (named?.suffix === '.lora_A.weight' ? 'down' : named?.suffix === '.lora_B.weight' ? 'up' : undefined);
		if (module === undefined || role === undefined) continue;
		const part: Part = { key, component: '', path: module, resolved: false, role, tensor };
		const group = groups.get(module);
		if (group === undefined) groups.set(module, [part]);
		else group.push(part);
	}
	const errors: FormatError[] = [];
	for (const parts of groups.values()) {
		// LyCORIS' IA3 has its vector under `.weight`, which names no role here: the layout judges it.
		if (parts.some((part) => part.role === 'on_input')) continue;
		try {
			assembleModules(parts, { file, warn: () => {}, expectAlpha: false });
		} catch (error) {
			if (!(error instanceof FormatError)) throw error;
			errors.push(error);
			if (errors.length >= MAX_ERRORS) break;
		}
	}
	return errors;
}
