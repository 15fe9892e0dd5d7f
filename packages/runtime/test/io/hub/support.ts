import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { FormatError } from '@lorakit/format';
import type { Environment } from '@lorakit/format/node';
import { afterEach } from 'vitest';
import type { FakeRepo, HubServer } from './hub-server.js';

const made: string[] = [];

afterEach(() => {
	for (const dir of made.splice(0)) fs.rmSync(dir, { recursive: true, force: true });
});

/** A folder that is gone after the test. */
export function tempDir(): string {
	const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'lorakit-hub-'));
	made.push(dir);
	return dir;
}

/** The refusal that `run` ends in; fails when it ends in none, or in another kind of error. */
export async function refusal(run: () => unknown): Promise<FormatError> {
	try {
		await run();
	} catch (error) {
		if (error instanceof FormatError) return error;
		throw new Error('an error that is no FormatError', { cause: error });
	}
	throw new Error('nothing was refused');
}

/** An environment with a fresh cache, the local Hub and nothing of this machine. */
export function hubEnv(server: HubServer, more: Environment = {}): Environment & { readonly HF_HUB_CACHE: string } {
	return {
		HF_ENDPOINT: server.endpoint,
		HF_HOME: path.join(tempDir(), 'home'),
		HF_HUB_CACHE: path.join(tempDir(), 'hub'),
		...more,
	} as Environment & {
		readonly HF_HUB_CACHE: string;
	};
}

/** A safetensors file with one tensor of `bytes` bytes. */
export function safetensors(metadata: Readonly<Record<string, string>> = {}, bytes = 16): Uint8Array {
	const header = { __metadata__: metadata, 'unet.down.lora_A.weight': { dtype: 'U8', shape: [bytes], data_offsets: [0, bytes] } };
	const text = new TextEncoder().encode(JSON.stringify(header).padEnd(Math.ceil(JSON.stringify(header).length / 8) * 8));
	const file = new Uint8Array(8 + text.byteLength + bytes);
	new DataView(file.buffer).setBigUint64(0, BigInt(text.byteLength), true);
	file.set(text, 8);
	for (let i = 0; i < bytes; i++) file[8 + text.byteLength + i] = (i * 7 + (i >> 8)) % 251;
	return file;
}

export function utf8(text: string): Uint8Array {
	return new TextEncoder().encode(text);
}

export const COMMIT = '5f1ab5a3c6f1f0b1b2f6d3a1c9ce2b76f0a7a8e1';
/** Long enough for several reads of a socket. */
export const ADAPTER: Uint8Array = safetensors({ format: 'pt' }, 3_000_000);

/** The repository of the post, with a card as its own. */
export function postRepo(changes: Partial<FakeRepo> = {}): FakeRepo {
	return {
		commit: COMMIT,
		files: new Map([
			['.gitattributes', utf8('*.safetensors filter=lfs\n')],
			['README.md', utf8('---\nlicense: creativeml-openrail-m\nbase_model: CompVis/stable-diffusion-v1-4\ntags:\n- lora\n---\n# LoRA\n')],
			['pytorch_lora_weights.safetensors', ADAPTER],
			['image_0.png', utf8('no picture')],
		]),
		lfs: new Set(['pytorch_lora_weights.safetensors']),
		...changes,
	};
}

/** Everything below a folder: path -> text of a file, or where a link goes. Sorted. */
export function listing(root: string): Record<string, string> {
	const out: Record<string, string> = {};
	for (const entry of fs.readdirSync(root, { recursive: true, withFileTypes: true })) {
		const file = path.join(entry.parentPath, entry.name);
		const name = path.relative(root, file).split(path.sep).join('/');
		if (entry.isSymbolicLink()) out[name] = `-> ${fs.readlinkSync(file)}`;
		else if (entry.isFile()) out[name] = `${fs.statSync(file).size} bytes`;
	}
	return Object.fromEntries(Object.entries(out).sort(([a], [b]) => (a < b ? -1 : 1)));
}
