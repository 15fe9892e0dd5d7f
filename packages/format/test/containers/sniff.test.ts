import { describe, expect, it } from 'vitest';
import { bytesSource } from '../../src/byte-source.js';
import { sniffContainer } from '../../src/containers/sniff.js';
import { FormatError } from '../../src/errors.js';
import { entry, stFile } from './st-bytes.js';

const bin = (text: string, size = 0): Uint8Array => {
	const bytes = new Uint8Array(Math.max(text.length, size));
	for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
	return bytes;
};
const zipEntry = (name: string): Uint8Array =>
	bin(`PK\x03\x04\x14\0\0\0\0\0\0\0!\0${'\0'.repeat(12)}${String.fromCharCode(name.length)}\0\0\0${name}`, 200);
const tar = bin('unet/lora.pt', 1024);
tar.set(bin('ustar\x0000'), 257);
const ST = stFile(`{${entry('a', 'F32', '1', 0, 4)}}`, 4);
const MAGIC = '\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.';

const CASES: readonly (readonly [string, string, Uint8Array, string])[] = [
	['safetensors', 'a.safetensors', ST, 'safetensors'],
	['safetensors without a name', 'bytes', ST, 'safetensors'],
	['safetensors named .pt', 'a.pt', ST, 'safetensors W_EXTENSION'],
	['safetensors behind a URL with a query', 'https://x.org/a.safetensors?download=true', ST, 'safetensors'],
	['safetensors with leading white space', 'a.bin', stFile(' \n{}'), 'safetensors W_EXTENSION'],
	['safetensors that is cut short, named .pt', 'a.pt', stFile('{"a":{"dtype":"F3', 0, 300n), 'safetensors W_EXTENSION'],
	['safetensors whose length spells PK', 'a.safetensors', stFile('{"a":1}', 0, 0x04034b50n), 'safetensors'],
	['safetensors whose length spells a pickle', 'a.safetensors', stFile('[]', 0x280, 0x280n), 'safetensors'],
	['damaged safetensors', 'a.safetensors', stFile('[]'), 'safetensors'],
	['torch zip', 'a.pt', zipEntry('archive/data.pkl'), 'torch-zip'],
	['torch zip without a name', 'blob', zipEntry('archive/data.pkl'), 'torch-zip'],
	['torch zip named .safetensors', 'a.safetensors', zipEntry('archive/data.pkl'), 'E_FORMAT_MISMATCH'],
	['torch zip named .SAFETENSORS', 'a.SAFETENSORS', zipEntry('archive/data.pkl'), 'E_FORMAT_MISMATCH'],
	['empty zip', 'a.pt', bin('PK\x05\x06', 22), 'torch-zip'],
	['zip behind other bytes', 'a.pt', bin(`MZ${'\0'.repeat(60)}PK\x05\x06`, 86), 'torch-zip'],
	['npz', 'a.npz', zipEntry('weight.npy'), 'E_FORMAT'],
	['zip of a safetensors', 'a.zip', zipEntry('lora.safetensors'), 'E_COMPRESSED'],
	['torch legacy, protocol 2', 'a.bin', bin(`\x80\x02${MAGIC}`), 'torch-legacy'],
	['torch legacy, protocol 4', 'a.bin', bin(`\x80\x04\x95\x0d${'\0'.repeat(7)}${MAGIC}`), 'torch-legacy'],
	['torch legacy, protocol 0', 'a.bin', bin('L119547037146038801333356L\n.'), 'torch-legacy'],
	['torch legacy named .safetensors', 'a.safetensors', bin(`\x80\x02${MAGIC}`), 'E_FORMAT_MISMATCH'],
	['plain pickle', 'a.bin', bin('\x80\x02}(X\x01\0\0\0a](K\x01K\x02eu.'), 'E_FORMAT'],
	['plain pickle named .safetensors', 'a.safetensors', bin('\x80\x02}(X\x01\0\0\0a](K\x01K\x02eu.'), 'E_FORMAT_MISMATCH'],
	['nothing', 'a.pt', new Uint8Array(0), 'E_EMPTY'],
	['zeros', 'a.safetensors', new Uint8Array(5000), 'E_FORMAT'],
	['GGUF', 'a.safetensors', bin('GGUF\x03\0\0\0', 64), 'E_FORMAT_GGUF'],
	['ONNX', 'a.onnx', bin('\x08\x08\x12\x07pytorch\x1a\x05'), 'E_FORMAT_ONNX'],
	['ONNX named .bin', 'a.bin', bin('\x08\x07\x12\x07pytorch\x1a\x05'), 'E_FORMAT_ONNX'],
	['ORT model', 'a.ort', bin('\x20\0\0\0ORTM', 64), 'E_FORMAT_ONNX'],
	['onnx_adapter', 'a.onnx_adapter', bin('\x1c\0\0\0TORT', 64), 'E_FORMAT_ONNX'],
	['tar', 'a.pt', tar, 'E_FORMAT_TAR'],
	['torch tar of old', 'a.pt', bin('sys_info', 10240), 'E_FORMAT_TAR'],
	['LFS pointer', 'a.safetensors', bin('version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123\n'), 'E_LFS_POINTER'],
	['HTML', 'a.safetensors', bin('\n <!DOCTYPE html>\n<html>'), 'E_HTML'],
	['HTML without a doctype', 'a.pt', bin('<html lang="en">'), 'E_HTML'],
	['XML error of an object store', 'a.pt', bin('<?xml version="1.0"?><Error/>'), 'E_HTML'],
	['gzip', 'a.safetensors', bin('\x1f\x8b\x08\0\0\0\0\0\0\x03', 40), 'E_COMPRESSED'],
	['zstd', 'a.pt', bin('\x28\xb5\x2f\xfd\x04', 40), 'E_COMPRESSED'],
	['xz', 'a.pt', bin('\xfd7zXZ\0', 40), 'E_COMPRESSED'],
	['bzip2', 'a.pt', bin('BZh91AY', 40), 'E_COMPRESSED'],
	['7z', 'a.pt', bin("7z\xbc\xaf'\x1c", 40), 'E_COMPRESSED'],
	['rar', 'a.pt', bin('Rar!\x1a\x07\x01\0', 40), 'E_COMPRESSED'],
	['lz4', 'a.pt', bin('\x04\x22\x4d\x18', 40), 'E_COMPRESSED'],
	['PNG', 'a.safetensors', bin('\x89PNG\r\n\x1a\n', 40), 'E_FORMAT'],
	['JPEG', 'a.pt', bin('\xff\xd8\xff\xe0', 40), 'E_FORMAT'],
	['PDF', 'a.pt', bin('%PDF-1.7\n', 40), 'E_FORMAT'],
	['npy', 'a.pt', bin('\x93NUMPY\x01\0', 40), 'E_FORMAT'],
	['JSON', 'a.safetensors', bin('{"error":"Invalid username or password."}'), 'E_FORMAT'],
	['text', 'a.safetensors', bin('hello, this is a text file'), 'E_FORMAT'],
	['Python', 'a.bin', bin('import os\nos.system("true")\n'), 'E_FORMAT'],
	['noise', 'a.ckpt', bin('\x01\x02\x03\xff\xfe\xfd\xfc\xfb\xfa', 64), 'E_FORMAT'],
];

describe('sniffContainer', () => {
	it.each(CASES)('%s', async (_, name, bytes, want) => {
		let got: string;
		try {
			const { id, warnings, head } = await sniffContainer(bytesSource(bytes, name));
			got = [id, ...warnings.map((w) => w.code)].join(' ');
			expect(head).toEqual(bytes.subarray(0, head.byteLength));
		} catch (error) {
			if (!(error instanceof FormatError)) throw error;
			got = error.code;
			expect(error.message).toMatch(/^[^\n\r]{20,400}\.$/);
		}
		expect(got).toBe(want);
	});

	it('says what it is and what to do', async () => {
		const pointer = bin('version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 151110456\n');
		await expect(sniffContainer(bytesSource(pointer))).rejects.toThrow(
			'This is a Git LFS pointer, not the file itself (which has 151110456 bytes); fetch it with "git lfs pull" or from the download button.',
		);
	});
});
