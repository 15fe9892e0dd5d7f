import { FormatError } from '../errors.js';
import type { BaseInventory } from '../modules/inventory.js';
import { baseInventoryFromTensors } from '../modules/read-base.js';
import type { BaseModel, BaseTensorFile } from './base-model.js';

export interface BaseModelOptions {
	/** Parsed `config.json` by component folder; the UNet's decides the order of its modules. */
	readonly configs?: ReadonlyMap<string, unknown> | undefined;
}

/**
 * A base model over files that are open for reading (header and small values read, data not). Names that are those
 * of no model we know are no error: adapters may still find their modules by name.
 *
 * @param kind `folder`: each file has its component; `file`: one single-file checkpoint
 * @param name for messages and recipes
 * @throws {FormatError} `E_CONFIG` for a broken UNet configuration.
 */
export function baseModel(
	files: readonly BaseTensorFile[],
	kind: BaseModel['kind'],
	name: string,
	options: BaseModelOptions = {},
): BaseModel {
	return { name, kind, files, inventory: inventoryOf(files, name, options) };
}

function inventoryOf(files: readonly BaseTensorFile[], name: string, options: BaseModelOptions): BaseInventory {
	const named = files.map(({ component, state }) => ({
		component,
		names: Array.from(state.tensors, ([tensor, { shape }]) => [tensor, shape] as const),
		config: component === undefined ? undefined : options.configs?.get(component),
	}));
	try {
		return baseInventoryFromTensors(named, name);
	} catch (error) {
		if (!(error instanceof FormatError) || error.code !== 'E_FORMAT') throw error;
		return { name, family: 'unknown', components: new Map(), unetConfig: undefined };
	}
}
