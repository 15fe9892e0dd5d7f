import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { openFile } from './inputs.mjs';
import { baseInventoryFromTensors, decodeFloats } from './library.mjs';

/**
 * The base of a reference set: its modules, for files that need `--base`, and its weights, for DoRA.
 *
 * @param {string} root
 * @param {Record<string, { file?: string, sha256?: string }> | undefined} spec `base` of the manifest
 */
export async function baseOf(root, spec) {
	const files = new Map();
	for (const [component, entry] of Object.entries(spec ?? {})) {
		if (typeof entry?.file !== 'string') continue;
		const file = path.join(root, entry.file);
		if (existsSync(file)) files.set(component, { file, dict: await openFile(file) });
	}
	if (files.size === 0) return undefined;
	const inventory = baseInventoryFromTensors(
		[...files].map(([component, { file, dict }]) => {
			const config = path.join(path.dirname(file), 'config.json');
			return {
				component,
				names: [...dict.tensors].map(([name, t]) => [name, t.shape]),
				config: existsSync(config) ? JSON.parse(readFileSync(config, 'utf8')) : undefined,
			};
		}),
		path.join(root, 'base'),
	);
	return {
		inventory,
		/** @param {string} component @param {string} module */
		async weightOf(component, module) {
			const dict = files.get(component)?.dict;
			const tensor = dict?.tensors.get(`${module}.weight`);
			if (tensor === undefined) return undefined;
			const bias = dict.tensors.get(`${module}.bias`);
			return {
				weight: decodeFloats(tensor.dtype, await tensor.read()),
				shape: tensor.shape,
				bias: bias === undefined ? undefined : decodeFloats(bias.dtype, await bias.read()),
			};
		},
	};
}
