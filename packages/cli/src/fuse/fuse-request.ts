import type { DoraStrength, FusePlan, Recipe, Warning } from '@lorakit/format';
import type { OpenedAdapter } from '../adapter-specs.js';
import type { Progress } from '../progress.js';

/** How adapters are read. */
export interface FuseReading {
	readonly from?: string | undefined;
	readonly order?: 'old' | 'new' | undefined;
	readonly repair?: boolean | undefined;
}

/** One fuse as the command line asks for it. */
export interface FuseRequest extends FuseReading {
	readonly base: string;
	/** `PATH[@scale][:unet=0.5,...]` each. */
	readonly adapters: readonly string[];
	readonly out: string;
	readonly reversible: boolean;
	readonly force: boolean;
	readonly dryRun: boolean;
	/** Results that the stored type cannot hold become Inf. */
	readonly allowNonfinite: boolean;
	readonly doraStrength?: DoraStrength | undefined;
	readonly version: string;
	readonly onProgress?: Progress | undefined;
	/** Told what was found beside inputs, before anything is written. */
	readonly note: (text: string) => void;
}

/** A file that was written, or would be. */
export interface FusedOutput {
	readonly path: string;
	/** Bytes on disk; null under `--dry-run`. */
	readonly bytes: number | null;
	/** Tensors that were changed. */
	readonly tensors: number;
}

/** What a fuse did. */
export interface FuseResult {
	readonly plan: FusePlan;
	readonly adapters: readonly OpenedAdapter[];
	readonly outputs: readonly FusedOutput[];
	/** Files copied as they are. */
	readonly copied: number;
	readonly leftOut: readonly string[];
	/** Embeddings written beside. */
	readonly beside: readonly string[];
	readonly sidecar: { readonly path: string; readonly bytes: number | null } | undefined;
	/** Bytes of the base files that were fused. */
	readonly baseBytes: number;
	/** undefined under `--dry-run`. */
	readonly recipe: Recipe | undefined;
	readonly warnings: readonly Warning[];
}
