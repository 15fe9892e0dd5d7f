import type { Warning } from './errors.js';
import type { Tensor } from './tensor.js';

/** Ids of the containers we read. `memory` is a state dict that was built, not read. */
export type ContainerId = 'safetensors' | 'torch-zip' | 'torch-legacy' | 'memory';

/** A Python value in a torch file that is no tensor: named in a warning, never silently lost. */
export interface NonTensor {
	/** Path in the object, e.g. `epoch` or `callbacks[0].name`. */
	readonly path: string;
	/** Short text: `int 17`, `str "lora"`, `OrderedDict of 3`. Control characters escaped. */
	readonly description: string;
}

/**
 * What a container holds, before anyone asks what it means: names, tensors, header strings. Readonly data.
 */
export interface StateDict {
	readonly container: ContainerId;
	/** What to call the input in messages. */
	readonly name: string;
	/** Tensor name -> tensor, in the order of the file (safetensors: by data offset; torch: as built). */
	readonly tensors: ReadonlyMap<string, Tensor>;
	/** safetensors `__metadata__`; empty for torch files. */
	readonly metadata: ReadonlyMap<string, string>;
	/** Shape of the top object. A torch list has tensor names `"0"`, `"1"`, ...; one nested wrapper is taken off. */
	readonly top: 'dict' | 'list' | 'tensor';
	/** Key of the wrapper that was taken off (`state_dict`, `lora`, ...). */
	readonly wrapper: string | undefined;
	readonly nonTensors: readonly NonTensor[];
	/**
	 * Values of tensors with at most `SMALL_TENSOR_ELEMENTS` elements (alpha, scale, on_input, ...), as
	 * doubles (I64 beyond 2^53 are left out). Lacks entries when the source is remote and only headers were read.
	 */
	readonly small: ReadonlyMap<string, readonly number[]>;
	/** True when `small` holds every small tensor; false after a header-only read. */
	readonly smallComplete: boolean;
	readonly warnings: readonly Warning[];
}
