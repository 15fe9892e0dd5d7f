import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll } from 'vitest';

/** The package `lorakit`. */
export const PACKAGE: string = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
export const FIXTURES: string = path.join(PACKAGE, '../../fixtures');
export const LORA: string = path.join(PACKAGE, 'bin/lora.js');
export const LORA_CONVERT: string = path.join(PACKAGE, 'bin/lora-convert.js');

if (!fs.existsSync(path.join(PACKAGE, 'dist/main.cjs'))) throw new Error('The command line is not built: run "npm run build" first.');

/** What a run of the program gave. */
export interface Ran {
	readonly code: number | null;
	readonly signal: string | null;
	readonly out: string;
	readonly err: string;
	/** Standard output as bytes. */
	readonly bytes: Buffer;
}

export interface RunOptions {
	readonly bin?: string;
	readonly input?: Uint8Array;
	readonly env?: Readonly<Record<string, string>>;
	readonly cwd?: string;
}

/** Run `lora` and wait. Standard input is empty unless given. */
export function lora(args: readonly string[], options: RunOptions = {}): Ran {
	const { NO_COLOR: _no, FORCE_COLOR: _force, LORAKIT_DEBUG: _debug, ...env } = process.env;
	const result = spawnSync(process.execPath, [options.bin ?? LORA, ...args], {
		env: { ...env, ...options.env },
		cwd: options.cwd,
		input: options.input ?? new Uint8Array(),
		maxBuffer: 1 << 28,
		timeout: 60_000,
	});
	return {
		code: result.status,
		signal: result.signal,
		out: result.stdout.toString('utf8'),
		err: result.stderr.toString('utf8'),
		bytes: result.stdout,
	};
}

/** Start `lora` without waiting. */
export function startLora(args: readonly string[]): ReturnType<typeof spawn> {
	return spawn(process.execPath, [LORA, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
}

/** A folder that is removed when the test file is done. */
export function tempFolder(): string {
	const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'lorakit-cli-'));
	afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));
	return folder;
}

/** Makes a new empty folder at each call, all gone with the test file's. */
export function freshFolders(): () => string {
	const top = tempFolder();
	let made = 0;
	return () => {
		const folder = path.join(top, String(made++));
		fs.mkdirSync(folder);
		return folder;
	};
}

/** A tensor for `safetensors`. */
export interface TestTensor {
	readonly dtype: string;
	readonly shape: readonly number[];
	readonly data: Uint8Array;
}

/** Bytes of a safetensors file, written by hand: independent of the writer under test. */
export function safetensors(tensors: Readonly<Record<string, TestTensor>>, metadata?: Readonly<Record<string, string>>): Buffer {
	const header: Record<string, unknown> = metadata === undefined ? {} : { __metadata__: metadata };
	let at = 0;
	for (const [name, { dtype, shape, data }] of Object.entries(tensors)) {
		header[name] = { dtype, shape, data_offsets: [at, at + data.byteLength] };
		at += data.byteLength;
	}
	const json = Buffer.from(JSON.stringify(header));
	const length = Buffer.alloc(8);
	length.writeBigUInt64LE(BigInt(json.byteLength));
	return Buffer.concat([length, json, ...Object.values(tensors).map(({ data }) => data)]);
}

/** Little-endian F32. */
export function f32(shape: readonly number[], values: (i: number) => number): TestTensor {
	const n = shape.reduce((product, d) => product * d, 1);
	const data = Buffer.alloc(4 * n);
	for (let i = 0; i < n; i++) data.writeFloatLE(values(i), 4 * i);
	return { dtype: 'F32', shape, data };
}

/** Header and data of a safetensors file, read by hand. */
export function readSafetensors(bytes: Buffer): {
	readonly metadata: Readonly<Record<string, string>>;
	readonly tensors: ReadonlyMap<string, TestTensor & { readonly data: Buffer }>;
	readonly data: Buffer;
} {
	const length = Number(bytes.readBigUInt64LE(0));
	const { __metadata__: metadata = {}, ...entries } = JSON.parse(bytes.subarray(8, 8 + length).toString('utf8'));
	const data = bytes.subarray(8 + length);
	const tensors = new Map<string, TestTensor & { readonly data: Buffer }>();
	for (const [name, entry] of Object.entries(entries as Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>))
		tensors.set(name, { dtype: entry.dtype, shape: entry.shape, data: data.subarray(...entry.data_offsets) });
	return { metadata, tensors, data };
}

/** A small kohya file for SD1: two modules of rank 2 and alpha 1. */
export function kohyaFile(metadata?: Readonly<Record<string, string>>): Buffer {
	const name = 'lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_';
	const tensors: Record<string, TestTensor> = {};
	for (const leaf of ['q', 'v']) {
		tensors[`${name}${leaf}.lora_up.weight`] = f32([8, 2], (i) => i / 4);
		tensors[`${name}${leaf}.lora_down.weight`] = f32([2, 8], (i) => (i - 8) / 8);
		tensors[`${name}${leaf}.alpha`] = f32([], () => 1);
	}
	return safetensors(tensors, metadata);
}
