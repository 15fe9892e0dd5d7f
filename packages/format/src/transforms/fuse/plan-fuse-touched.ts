import type { TargetModule } from '../../adapter.js';
import type { BaseTensorFile } from '../../bases/base-model.js';
import type { TensorLeaf } from '../../bases/place-base-tensor.js';
import type { Segment, StoredModule, StoredPart } from '../../bases/stored-part.js';
import { type DType, numel } from '../../dtype.js';
import type { BaseWeight, DoraStrength } from '../../families/delta.js';
import { type DeltaRows, needsBase, readFactors, rowsOf } from '../../families/index.js';
import { product } from '../../families/matrix.js';
import { decodeFloats, type WritableFloat } from '../../half.js';
import { kernel } from '../../kernel/index.js';
import type { Tensor } from '../../tensor.js';
import type { PeftSettings } from './plan-fuse-settings.js';
import type { TouchedTensor } from './touched-tensor.js';

/** Doubles of one block of rows: 256 KiB, so that delta, base and result stay in a core's cache. */
const BLOCK_ELEMENTS = 32_768;
/** And at most so many, where more rows make up for reading a large factor again for each block. */
const MAX_BLOCK_ELEMENTS = 524_288;

/** One module that is to be added to the base, with what it needs. */
export interface FuseJob {
	readonly module: TargetModule;
	readonly strength: number;
	readonly stored: StoredModule;
	readonly settings: PeftSettings;
	readonly doraStrength: DoraStrength | undefined;
	/** True when the file holds (in, out). */
	readonly fanIn: boolean;
}

/** A module's share in one stored tensor. */
interface Share {
	readonly job: FuseJob;
	readonly part: StoredPart;
	readonly segment: Segment;
	readonly isBias: boolean;
}

/** Leaf of the base that a module's weight delta goes to. */
export function weightLeaf(module: TargetModule): TensorLeaf {
	return module.factors.diff_m === undefined ? 'weight' : 'modulation';
}

/** The touched tensors of all jobs, summed in the order of the jobs. `leaves`: which parts a job changes. */
export function touchedTensors(
	files: readonly BaseTensorFile[],
	jobs: readonly { readonly job: FuseJob; readonly leaves: readonly TensorLeaf[] }[],
): readonly TouchedTensor[] {
	const shares = new Map<BaseTensorFile, Map<string, Share[]>>();
	for (const { job, leaves } of jobs) {
		for (const leaf of leaves) {
			const part = job.stored.parts.get(leaf);
			for (const segment of part?.segments ?? []) {
				if (part === undefined) continue;
				const byName = shares.get(segment.file) ?? new Map<string, Share[]>();
				shares.set(segment.file, byName);
				const share: Share = { job, part, segment, isBias: leaf === 'bias' };
				const list = byName.get(segment.name);
				if (list === undefined) byName.set(segment.name, [share]);
				else list.push(share);
			}
		}
	}
	const out: TouchedTensor[] = [];
	for (const file of files) {
		const byName = shares.get(file);
		if (byName === undefined) continue;
		for (const [name, tensor] of file.state.tensors) {
			const list = byName.get(name);
			if (list !== undefined) out.push(touchedTensor(file, name, tensor, list));
		}
	}
	return out;
}

function touchedTensor(file: BaseTensorFile, name: string, tensor: Tensor, shares: readonly Share[]): TouchedTensor {
	const rows = tensor.shape[0] ?? 1;
	const rowElements = product(tensor.shape.slice(1));
	const sliceable = shares.every((s) => s.isBias || maySlice(s.job));
	const blockRows = sliceable && tensor.shape.length > 1 ? rowsAtATime(rowElements, shares) : rows;
	let open: Promise<readonly DeltaRows[]> | undefined;
	return {
		file,
		name,
		tensor,
		modules: [...new Set(shares.map(({ job: { module } }) => `${module.component} ${module.path}`))],
		needsBase: shares.some((s) => needsBase(s.job.module)),
		blockRows: Math.max(1, Math.min(blockRows, rows)),
		async delta(from, to, base) {
			open ??= Promise.all(shares.map(openShare));
			const prepared = await open;
			// Factors as doubles are held from the first block to the last.
			if (to >= rows) open = undefined;
			const parts: { readonly at: number; readonly data: Float64Array }[] = [];
			for (const [n, share] of shares.entries()) {
				const { segment } = share;
				const [a, b] = [Math.max(from, segment.tensorRow), Math.min(to, segment.tensorRow + segment.rows)];
				const ready = prepared[n];
				if (a >= b || ready === undefined) continue;
				const data = await deltaRows(share, ready, { a, b, tensor, base, rowElements });
				parts.push({ at: (a - from) * rowElements, data });
			}
			const length = (to - from) * rowElements;
			const [only] = parts;
			if (only !== undefined && parts.length === 1 && only.data.length === length) return only.data;
			const sum = new Float64Array(length);
			for (const { at, data } of parts) for (let i = 0; i < data.length; i++) sum[at + i] = (sum[at + i] ?? 0) + (data[i] ?? 0);
			return sum;
		},
	};
}

function rowsAtATime(columns: number, shares: readonly Share[]): number {
	const rowElements = Math.max(1, columns);
	let rank = 1;
	for (const { job } of shares) rank = Math.max(rank, job.module.rank ?? 1);
	return Math.max(1, Math.floor(BLOCK_ELEMENTS / rowElements), Math.min(2 * rank, Math.floor(MAX_BLOCK_ELEMENTS / rowElements)));
}

/** Guess, without data, whether rows can be asked for one by one; a wrong yes only costs time. */
function maySlice({ module, fanIn }: FuseJob): boolean {
	if (fanIn) return false;
	const f = module.factors;
	if (f.magnitude !== undefined && (module.magnitudeAxis === 'in' || module.family === 'lokr' || module.family === 'embedding'))
		return false;
	if (f.bias_values !== undefined || f.bias_dense !== undefined || f.hada_t1 !== undefined || f.hada_t2 !== undefined) return false;
	return (
		!['oft', 'boft', 'peft-oft', 'peft-boft', 'glora'].includes(module.family) && !(f.ia3_l !== undefined && f.ia3_l.shape.length !== 2)
	);
}

async function openShare({ job, part, isBias }: Share): Promise<DeltaRows> {
	const { module, strength, settings, doraStrength, fanIn, stored } = job;
	const shape = isBias ? (stored.parts.get('weight')?.shape ?? part.shape) : storedShape(part);
	return rowsOf(module, await readFactors(module), shape, { strength, doraStrength, fanIn, peftOft: settings.oft });
}

/** Shape of a part as the file stores it. */
function storedShape(part: StoredPart): readonly number[] {
	return part.transposed ? [...part.shape].reverse() : part.shape;
}

interface Block {
	readonly a: number;
	readonly b: number;
	readonly tensor: Tensor;
	readonly base: Uint8Array | undefined;
	readonly rowElements: number;
}

/** One module's delta for rows [a, b) of the stored tensor. */
async function deltaRows(share: Share, ready: DeltaRows, block: Block): Promise<Float64Array> {
	const { job, part, segment, isBias } = share;
	const { a, b, tensor, base, rowElements } = block;
	const [from, to] = [a - segment.tensorRow + segment.moduleRow, b - segment.tensorRow + segment.moduleRow];
	const onBase = needsBase(job.module);
	const own = async (): Promise<Uint8Array> => base ?? (await tensor.read());
	if (isBias) {
		let biasBase: BaseWeight | undefined;
		if (onBase) {
			const weight = job.stored.parts.get('weight');
			// Only PEFT's IA3 over convolutions looks at the weight; others are content with its shape.
			const values = job.module.family === 'peft-ia3' && weight !== undefined ? await wholeOf(weight) : new Float64Array(0);
			const shape = values.length > 0 ? storedShape(weight ?? part) : [0];
			biasBase = { weight: values, shape, bias: await wholeOf(part, segment, await own()) };
		}
		return (ready.bias(biasBase) ?? new Float64Array(numel(part.shape) ?? 0)).subarray(from, to);
	}
	if (!onBase) return ready.weight(from, to);
	if (!ready.sliceable) return ready.weight(from, to, { weight: await wholeOf(part, segment, await own()), shape: storedShape(part) });
	const bytes = await own();
	const rowBytes = bytes.byteLength / Math.max(1, tensor.shape[0] ?? 1);
	const weight = decode(tensor, bytes.subarray(a * rowBytes, b * rowBytes));
	return ready.weight(from, to, { weight, shape: [b - a, rowElements] });
}

/** A part's values, gathered from where they are stored; `bytes` are those of `own`'s tensor. */
async function wholeOf(part: StoredPart, own?: Segment, bytes?: Uint8Array): Promise<Float64Array> {
	const taps = product(part.shape.slice(1));
	const out = new Float64Array(numel(part.shape) ?? 0);
	for (const segment of part.segments) {
		const { tensor, tensorRow, moduleRow, rows } = segment;
		const all = own !== undefined && bytes !== undefined && tensor === own.tensor ? bytes : await tensor.read();
		if (part.transposed) return decode(tensor, all);
		const rowBytes = all.byteLength / Math.max(1, tensor.shape[0] ?? 1);
		out.set(decode(tensor, all.subarray(tensorRow * rowBytes, (tensorRow + rows) * rowBytes)), moduleRow * taps);
	}
	return out;
}

/** Types a base's tensors may have where something is added to them. */
export function isFusable(dtype: DType): dtype is WritableFloat {
	return dtype === 'F16' || dtype === 'BF16' || dtype === 'F32' || dtype === 'F64';
}

function decode({ dtype }: Tensor, bytes: Uint8Array): Float64Array {
	return isFusable(dtype) ? kernel().decode(dtype, bytes) : decodeFloats(dtype, bytes);
}
