import type { AdapterUse } from '@lorakit/format';
import type { Base } from '@lorakit/runtime';
import { pixelsPerLatent } from '@lorakit/runtime';
import type { EditRequest } from './edit-request.js';
import type { GenerateRequest } from './generate-request.js';
import type { KnownAdapter } from './generation-inputs.js';
import { type GridCell, gridCells } from './grid-spec.js';
import { defaultSize, type PictureSettings } from './picture-settings.js';
import type { InitPicture } from './read-init-picture.js';

/** A picture to make. */
export interface PictureJob {
	readonly settings: PictureSettings;
	/** Replaces the scale of every adapter. */
	readonly scale: number | undefined;
	/** Spec of the adapter that an axis adds. */
	readonly lora: string | undefined;
	/** What is drawn beside it. */
	readonly edit: EditRequest | undefined;
	/** Its place on the sheet. */
	readonly cell: GridCell | undefined;
}

/**
 * The pictures of a request, in the order in which they are made: seeds one after the other, or the cells of the grid.
 */
export function pictureJobs(request: GenerateRequest, base: Base, init: InitPicture | undefined): readonly PictureJob[] {
	const settings: PictureSettings = { ...request.settings, ...sizeOf(request, base, init) };
	if (request.grid === undefined) {
		return Array.from({ length: request.num }, (_, i) => ({
			settings: { ...settings, seed: settings.seed + BigInt(i) },
			scale: undefined,
			lora: undefined,
			edit: request.edit,
			cell: undefined,
		}));
	}
	return gridCells(request.grid.axes).cells.map((cell) => ({
		settings: Object.assign({}, settings, ...cell.changes.map((change) => change.settings)) as PictureSettings,
		scale: cell.changes.find((change) => change.scale !== undefined)?.scale,
		lora: cell.changes.find((change) => change.lora !== undefined)?.lora,
		edit:
			request.edit === undefined ? undefined : (Object.assign({}, request.edit, ...cell.changes.map(({ edit }) => edit)) as EditRequest),
		cell,
	}));
}

/** As asked; else that of the picture to start from, cut down to whole latents as diffusers' VaeImageProcessor does; else the base's. */
function sizeOf({ size }: GenerateRequest, base: Base, init: InitPicture | undefined): { readonly width: number; readonly height: number } {
	if (size !== undefined) return size;
	if (init === undefined) return defaultSize(base);
	const factor = pixelsPerLatent(base.vae);
	const whole = (side: number): number => side - (side % factor);
	return { width: whole(init.picture.width), height: whole(init.picture.height) };
}

/** Adapters of a job: those that computing takes, and what the record says. */
export interface JobAdapters {
	readonly uses: readonly AdapterUse[];
	readonly records: readonly KnownAdapter['record'][];
}

/** The same object for jobs with the same adapters at the same scales, so that nothing is computed anew for them. */
export function adaptersByJob(adapters: readonly KnownAdapter[]): (job: Pick<PictureJob, 'scale' | 'lora'>) => JobAdapters {
	const known = new Map<string, JobAdapters>();
	return ({ scale, lora }) => {
		const key = JSON.stringify([scale, lora]);
		const found = known.get(key);
		if (found !== undefined) return found;
		const chosen = adapters.filter(({ record, spec }) => record.origin !== 'grid' || spec === lora);
		const scaleOf = (use: AdapterUse): number => scale ?? use.strength.scale;
		const made: JobAdapters = {
			uses: chosen.map(({ use }) => ({ ...use, strength: { ...use.strength, scale: scaleOf(use) } })),
			records: chosen.map(({ use, record }) => ({ ...record, scale: scaleOf(use) })),
		};
		known.set(key, made);
		return made;
	};
}
