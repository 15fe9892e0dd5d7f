import type { BaseModel } from '../../bases/base-model.js';
import { readStoredPart, storedModule } from '../diff/energy-base.js';
import type { MergeBase } from './merge-types.js';

/** The weights of an open base model, read when a module asks for them. */
export function mergeBase(base: BaseModel): MergeBase {
	return {
		name: base.name,
		inventory: base.inventory,
		async weightOf(component, path) {
			const parts = storedModule(base, component, path)?.parts;
			const weight = parts?.get('weight');
			if (weight === undefined) return undefined;
			const bias = parts?.get('bias');
			return {
				weight: await readStoredPart(weight),
				shape: weight.shape,
				bias: bias === undefined ? undefined : await readStoredPart(bias),
			};
		},
	};
}
