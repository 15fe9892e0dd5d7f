import type { BaseInventory } from '../modules/inventory.js';
import type { StateDict } from '../state-dict.js';

/** One weight file of a base model that is open for reading. */
export interface BaseTensorFile {
	/** Relative to the model's folder with `/` (`unet/diffusion_pytorch_model.safetensors`); the file's name for a single file. */
	readonly path: string;
	/** Its component folder (`unet`, `text_encoder`, ...); undefined for a single-file checkpoint. */
	readonly component: string | undefined;
	readonly state: StateDict;
}

/** A base model: every weight file of it, and the modules they hold. */
export interface BaseModel {
	readonly name: string;
	readonly kind: 'folder' | 'file';
	readonly files: readonly BaseTensorFile[];
	readonly inventory: BaseInventory;
}
