import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { BaseModel } from '../../../src/bases/index.js';
import { baseModel } from '../../../src/bases/index.js';
import { bytesSource } from '../../../src/byte-source.js';
import { readSafetensors } from '../../../src/containers/safetensors-read.js';
import { safetensorsBytes } from '../../../src/containers/safetensors-write.js';
import { decodeAdapter } from '../../../src/detect.js';
import { FormatError } from '../../../src/errors.js';
import { loadInput } from '../../../src/load.js';
import { createSha256 } from '../../../src/sha256.js';
import { bytesTensor, type Tensor } from '../../../src/tensor.js';
import { planFuse } from '../../../src/transforms/fuse/plan-fuse.js';
import { writeFusedFile } from '../../../src/transforms/fuse/write-fused.js';
import { FULL_STRENGTH } from '../../../src/transforms/strength/adapter-use.js';
import { encodeResidual } from '../../../src/transforms/unfuse/residual.js';
import { readSidecar, type SidecarRecord, type SidecarTensor, sidecarMetadata } from '../../../src/transforms/unfuse/sidecar.js';
import { planUnfuse } from '../../../src/transforms/unfuse/unfuse.js';
import { codeWidth, guessBase } from '../../../src/transforms/unfuse/unfuse-guess.js';
import type { PatchableSink } from '../../../src/write.js';

const PATH = 'mid_block.attentions.0.transformer_blocks.0.attn1.to_';

function noise(count: number, seed: number): Uint8Array {
	const out = new Uint8Array(2 * count);
	const view = new DataView(out.buffer);
	let state = seed;
	for (let i = 0; i < count; i++) {
		state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
		// Every finite code up to 1, both signs.
		view.setUint16(2 * i, ((state >>> 8) % 0x3c00) | (state & 1 ? 0x8000 : 0), true);
	}
	return out;
}

function f32(shape: readonly number[], value: (i: number) => number): Tensor {
	const count = shape.reduce((a, b) => a * b, 1);
	return bytesTensor('F32', shape, new Uint8Array(Float32Array.from({ length: count }, (_, i) => value(i)).buffer));
}

/** A sink in memory. */
function memorySink(): PatchableSink & { bytes(): Uint8Array } {
	let out = new Uint8Array(0);
	return {
		write(bytes) {
			const longer = new Uint8Array(out.byteLength + bytes.byteLength);
			longer.set(out);
			longer.set(bytes, out.byteLength);
			out = longer;
		},
		async patch(offset, bytes) {
			out.set(bytes, offset);
		},
		bytes: () => out,
	};
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

async function modelOf(bytes: Uint8Array): Promise<BaseModel> {
	const state = await readSafetensors(bytesSource(bytes, 'base.safetensors'));
	return baseModel([{ path: 'base.safetensors', component: undefined, state }], 'file', 'base.safetensors');
}

/** A base, the fused file and its sidecar, as the command line makes them. */
async function made(): Promise<{ base: Uint8Array; fused: Uint8Array; sidecar: Uint8Array }> {
	const base = await safetensorsBytes(
		new Map([
			[`${PATH}q.weight`, bytesTensor('F16', [8, 8], noise(64, 1))],
			[`${PATH}v.weight`, bytesTensor('F16', [8, 8], noise(64, 2))],
			['other', bytesTensor('F16', [40], noise(40, 3))],
		]),
		new Map([['format', 'pt']]),
	);
	const adapter = await safetensorsBytes(
		new Map(
			['q', 'v'].flatMap((leaf) => [
				[`unet.${PATH}${leaf}.lora_A.weight`, f32([2, 8], (i) => Math.sin(i))] as const,
				[`unet.${PATH}${leaf}.lora_B.weight`, f32([8, 2], (i) => Math.cos(3 * i) / 5)] as const,
			]),
		),
		new Map(),
	);
	const model = await modelOf(base);
	const decoded = decodeAdapter(await loadInput({ main: bytesSource(adapter, 'a.safetensors'), base: model.inventory }, { values: true }));
	const plan = await planFuse(model, [{ adapter: decoded.adapter, name: 'a', strength: FULL_STRENGTH }]);
	const [file] = model.files;
	const touched = file === undefined ? undefined : plan.byFile.get(file);
	if (file === undefined || touched === undefined) throw new Error('nothing is touched');
	const tensors = new Map<string, Tensor>([['adapter.0.main', bytesTensor('U8', [adapter.byteLength], adapter)]]);
	const entries: SidecarTensor[] = [];
	const sink = memorySink();
	const written = await writeFusedFile(file, touched, new Map([['made', '0000']]), sink, {
		hasher: createSha256,
		async onTensor(target, before, after) {
			const guess = after.slice();
			await guessBase(target, guess);
			const residual = await encodeResidual(before, guess, codeWidth(target));
			const name = `residual.${entries.length}`;
			tensors.set(name, bytesTensor('U8', [residual.byteLength], residual));
			entries.push({ name: target.name, mode: 'delta', residual: name });
		},
	});
	await sink.patch?.(0, written.header(new Map([['made', 'true']])));
	const fused = sink.bytes();
	const headerBytes = 8 + Number(new DataView(base.buffer, base.byteOffset).getBigUint64(0, true));
	tensors.set('header.0', bytesTensor('U8', [headerBytes], base.slice(0, headerBytes)));
	const record: SidecarRecord = {
		kind: 'lorakit.unfuse',
		unfuse: 1,
		tool: 'test',
		version: '0',
		base: 'file',
		adapters: [
			{
				name: 'a',
				scale: 1,
				components: {},
				blocks: null,
				layout: decoded.layout.id,
				order: null,
				repair: false,
				main: { name: 'a.safetensors', bytes: 'adapter.0.main' },
				textEncoder: null,
				config: null,
			},
		],
		files: [
			{
				path: 'base.safetensors',
				base: { sha256: sha256(base), bytes: base.byteLength },
				fused: { sha256: sha256(fused), bytes: fused.byteLength },
				header: 'header.0',
				tensors: entries,
			},
		],
	};
	return { base, fused, sidecar: await safetensorsBytes(tensors, sidecarMetadata(record)) };
}

async function unfuse(fused: Uint8Array, sidecar: Uint8Array): Promise<Uint8Array> {
	const plan = await planUnfuse(await modelOf(fused), readSidecar(await readSafetensors(bytesSource(sidecar, 'sidecar'))));
	const sink = memorySink();
	for (const file of plan.files) await file.write(sink);
	return sink.bytes();
}

describe('unfuse', () => {
	it('brings the base back, in its own header and order', async () => {
		const { base, fused, sidecar } = await made();
		expect(sha256(fused)).not.toBe(sha256(base));
		expect(sha256(await unfuse(fused, sidecar))).toBe(sha256(base));
	});

	it('keeps every tensor that no adapter touches, and the order', async () => {
		const { base, fused } = await made();
		const [before, after] = [await readSafetensors(bytesSource(base)), await readSafetensors(bytesSource(fused))];
		expect([...after.tensors.keys()]).toEqual([...before.tensors.keys()]);
		expect(await after.tensors.get('other')?.read()).toEqual(await before.tensors.get('other')?.read());
		expect(after.metadata).toEqual(new Map([['made', 'true']]));
	});

	it('a sidecar with any byte changed is refused, or gives bytes that the SHA-256 tells apart', async () => {
		const { base, fused, sidecar } = await made();
		let refused = 0;
		for (let at = 0; at < sidecar.byteLength; at += 13) {
			const bad = sidecar.slice();
			bad[at] = (bad[at] ?? 0) ^ 0x21;
			try {
				const back = await unfuse(fused, bad);
				expect(back.byteLength).toBe(base.byteLength);
			} catch (error) {
				// Container codes for the header, which the command line calls E_SIDECAR.
				expect(error).toBeInstanceOf(FormatError);
				refused++;
			}
		}
		expect(refused).toBeGreaterThan(10);
	});

	it('a sidecar of another model is refused', async () => {
		const { sidecar } = await made();
		const other = await safetensorsBytes(new Map([[`${PATH}q.weight`, bytesTensor('F16', [8, 8], noise(64, 1))]]), new Map());
		await expect(unfuse(other, sidecar)).rejects.toBeInstanceOf(FormatError);
	});
});
