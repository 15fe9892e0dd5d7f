import type { ByteSource } from '../byte-source.js';
import { escapeControls, FormatError, quote, type Warning } from '../errors.js';
import { MAX_HEADER_BYTES } from '../limits.js';
import type { ContainerId } from '../state-dict.js';
import { hasBytes, MAGICS } from './magics.js';

/** What a file is, by its bytes. */
export interface Sniffed {
	readonly id: Exclude<ContainerId, 'memory'>;
	/** `W_EXTENSION` when the name says otherwise. */
	readonly warnings: readonly Warning[];
	/** The first bytes, which the reader need not fetch again. */
	readonly head: Uint8Array;
}

/** First bytes looked at. One disk read; over a network enough for the header of most adapters. */
const LOCAL_HEAD_BYTES = 4 * 1024;
const REMOTE_HEAD_BYTES = 64 * 1024;
/** Where the end record of a zip (22 bytes, comment of at most 65,535) must be found. */
const ZIP_TAIL_BYTES = 22 + 0xffff;
/** Below this a run of zeros may be a safetensors file with an empty header, and is judged as one. */
const ZEROS_BYTES = 512;

/** The magic number of torch's legacy files, 0x1950a86a20f9469cfc6c, as the opcode LONG1 writes it. */
const LEGACY_MAGIC = '\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19';
/** The same as a text LONG, which protocols 0 and 1 write. */
const LEGACY_MAGIC_TEXT = 'L119547037146038801333356L\n.';

/**
 * Tell what a file is from its first bytes; its name decides only where the bytes say nothing. Whether a zip is
 * TorchScript, or no torch file at all, is the torch reader's to say.
 *
 * The extension `.safetensors` is a promise that nothing in the file can run: pickle bytes under that name are refused.
 *
 * @throws {FormatError} `E_EMPTY`, `E_LFS_POINTER`, `E_HTML`, `E_COMPRESSED`, `E_FORMAT_GGUF`, `E_FORMAT_ONNX`,
 *   `E_FORMAT_TAR`, `E_FORMAT_MISMATCH`, `E_FORMAT`, each with what the file is and what to do; and what the source throws.
 */
export async function sniffContainer(source: ByteSource): Promise<Sniffed> {
	if (source.size === 0) throw new FormatError('E_EMPTY', 'The file is empty (0 bytes); fetch it again.');
	const head = await source.read(0, Math.min(source.size, source.remote ? REMOTE_HEAD_BYTES : LOCAL_HEAD_BYTES));
	const extension = extensionOf(source.name);
	const promised = extension === 'safetensors' || extension === 'sft';

	// Decisive: a length that can be one, then a JSON object. No other format has four zero bytes and a brace there.
	if (beginsLikeSafetensors(head)) {
		const warnings: Warning[] = [];
		if (!promised && extension !== '') {
			warnings.push({
				code: 'W_EXTENSION',
				message: `The file is named ${quote(`.${extension}`)}, but its content is safetensors; it is read as that.`,
			});
		}
		return { id: 'safetensors', warnings, head };
	}

	const zip = hasBytes(head, 0, 'PK\x03\x04') || hasBytes(head, 0, 'PK\x05\x06');
	const legacy = isTorchLegacy(head);
	const pickle = legacy || isPickle(head);
	if (zip) refuseOtherZip(head, extension);
	if (promised && (zip || pickle)) {
		throw new FormatError(
			'E_FORMAT_MISMATCH',
			`The file is named ".${extension}", which promises that it holds no pickle, but it is ${zip ? 'a zip archive, as torch.save writes' : 'a Python pickle'}; if you expected a torch file, name it .pt.`,
		);
	}
	if (zip) return { id: 'torch-zip', warnings: [], head };
	if (legacy) return { id: 'torch-legacy', warnings: [], head };
	refuseKnown(head);
	if (pickle) {
		throw new FormatError(
			'E_FORMAT',
			'This is a plain Python pickle, not a file of torch.save; nothing in it is run or read here: load it where it was made and save the tensors as safetensors.',
		);
	}
	if (head.byteLength >= ZEROS_BYTES && head.every((byte) => byte === 0)) {
		throw new FormatError(
			'E_FORMAT',
			'The file begins with zeros only: space was reserved for it, but it was never written; fetch it again.',
		);
	}
	refuseOnnx(head, extension);
	refuseText(head);
	if (promised) return { id: 'safetensors', warnings: [], head };
	if (await endsLikeZip(source)) return { id: 'torch-zip', warnings: [], head };
	const shown = Array.from(head.subarray(0, 8), (byte) => byte.toString(16).padStart(2, '0')).join(' ');
	throw new FormatError(
		'E_FORMAT',
		`This is neither a safetensors file nor a torch file (it begins with the bytes ${shown}); it is damaged, encrypted or of another kind.`,
	);
}

/** Lower-case extension without its point; '' when there is none. A query or fragment of a URL does not count. */
function extensionOf(name: string): string {
	const path = /^[a-z][a-z0-9+.-]*:\/\//i.test(name) ? (name.split(/[?#]/, 1)[0] ?? '') : name;
	return /\.([A-Za-z0-9_]{1,16})$/.exec(path)?.[1]?.toLowerCase() ?? '';
}

function beginsLikeSafetensors(head: Uint8Array): boolean {
	if (head.byteLength < 10) return false;
	const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
	const length = view.getUint32(0, true);
	if (view.getUint32(4, true) !== 0 || length < 2 || length > MAX_HEADER_BYTES) return false;
	// White space before the brace is allowed by the format's own reader.
	let at = skipSpace(head, 8);
	if (head[at] !== 0x7b) return false;
	at = skipSpace(head, at + 1);
	return at >= head.byteLength || head[at] === 0x22 || head[at] === 0x7d;
}

function skipSpace(bytes: Uint8Array, from: number): number {
	let at = from;
	for (let c = bytes[at]; c === 0x20 || c === 0x0a || c === 0x0d || c === 0x09; c = bytes[at]) at++;
	return at;
}

/** `PROTO n`, perhaps a frame (protocol 4 and up), then the magic number. */
function isTorchLegacy(head: Uint8Array): boolean {
	if (hasBytes(head, 0, LEGACY_MAGIC_TEXT)) return true;
	if (!isPickle(head)) return false;
	return hasBytes(head, 2, LEGACY_MAGIC) || (head[2] === 0x95 && hasBytes(head, 11, LEGACY_MAGIC));
}

function isPickle(head: Uint8Array): boolean {
	const protocol = head[1] ?? 255;
	if (head[0] !== 0x80 || protocol > 5 || head.byteLength < 3) return false;
	// Zeros in the upper half of the first 8 bytes are the length of a safetensors header, whatever follows it, or
	// that of a frame of protocol 4.
	return head[2] === 0x95 || !hasBytes(head, 4, '\0\0\0\0');
}

/** Archives that are zips but never torch's, told by the first entry's name. */
function refuseOtherZip(head: Uint8Array, extension: string): void {
	if (head.byteLength < 30) return;
	const length = new DataView(head.buffer, head.byteOffset, head.byteLength).getUint16(26, true);
	const name = new TextDecoder('latin1').decode(head.subarray(30, 30 + length));
	if (extension === 'npz' || name.endsWith('.npy')) {
		throw new FormatError(
			'E_FORMAT',
			'This is a NumPy archive (.npz), which is not read here; save its arrays with safetensors.numpy.save_file.',
		);
	}
	if (extension === 'keras' || name === 'model.weights.h5') {
		throw new FormatError('E_FORMAT', 'This is a Keras archive (.keras), which is not read here; save the weights as safetensors.');
	}
	if (/\.(safetensors|ckpt|pt|pth|bin)$/i.test(name)) {
		throw new FormatError('E_COMPRESSED', `This is a zip archive that holds ${quote(name)}; unpack it and give that file.`);
	}
}

function refuseKnown(head: Uint8Array): void {
	for (const { offset, bytes, code, say } of MAGICS) {
		if (hasBytes(head, offset, bytes)) throw new FormatError(code, `This is ${say}.`);
	}
	// torch 0.1's tar files: the first member has one of these names, and old tar headers have no mark.
	for (const member of ['sys_info\0', 'pickle\0', 'storages\0', 'tensors\0']) {
		if (hasBytes(head, 0, member) && head.byteLength >= 512) {
			throw new FormatError(
				'E_FORMAT_TAR',
				'This is a model in the tar form of torch before 0.1.10; load it with an old torch and save it again.',
			);
		}
	}
}

/** An ONNX model is a bare protobuf: ir_version (field 1), then as a rule the producer's name (field 2). */
function refuseOnnx(head: Uint8Array, extension: string): void {
	const version = head[1] ?? 0;
	const begins = head[0] === 0x08 && version >= 1 && version <= 32;
	const producer = head[2] === 0x12 && isWord(head.subarray(4, 4 + Math.min(head[3] ?? 0, 16)));
	if (begins && (extension === 'onnx' || producer || head[2] === 0x3a)) {
		throw new FormatError(
			'E_FORMAT_ONNX',
			'This is an ONNX model, in which weights are bound to one graph; use the adapter it was exported from (safetensors or .pt).',
		);
	}
}

function isWord(bytes: Uint8Array): boolean {
	return (
		bytes.byteLength > 0 &&
		bytes.every(
			(c) =>
				(c >= 0x30 && c <= 0x39) ||
				(c >= 0x41 && c <= 0x5a) ||
				(c >= 0x61 && c <= 0x7a) ||
				c === 0x2d ||
				c === 0x2e ||
				c === 0x5f ||
				c === 0x20,
		)
	);
}

/** Text of any kind: no weight file is text. */
function refuseText(head: Uint8Array): void {
	const text = asText(head);
	if (text === undefined) return;
	const start = text.replace(/^\ufeff?\s*/, '').slice(0, 256);
	if (start.startsWith('version https://git-lfs.github.com/spec/')) {
		const size = /^size (\d+)$/m.exec(text)?.[1];
		throw new FormatError(
			'E_LFS_POINTER',
			`This is a Git LFS pointer, not the file itself${size === undefined ? '' : ` (which has ${size} bytes)`}; fetch it with "git lfs pull" or from the download button.`,
		);
	}
	if (/^<(!doctype\s+html|html|head|body|\?xml|!--)/i.test(start)) {
		throw new FormatError(
			'E_HTML',
			'This is a web page, not a weight file: the download gave an error or login page; fetch it again from the direct link, with a token if the site wants one.',
		);
	}
	if (start.startsWith('{') || start.startsWith('[')) {
		throw new FormatError(
			'E_FORMAT',
			`This is JSON text, not a weight file (it begins ${excerpt(start)}); an error message or a configuration was saved in its place.`,
		);
	}
	throw new FormatError('E_FORMAT', `This is a text file, not a weight file (it begins ${excerpt(start)}).`);
}

function excerpt(text: string): string {
	return escapeControls(quote(text.slice(0, 40)));
}

/** The head as text when it is printable UTF-8 throughout, a character cut at its end aside. */
function asText(head: Uint8Array): string | undefined {
	if (head.byteLength < 8) return undefined;
	for (const c of head) {
		if ((c < 0x20 && c !== 0x09 && c !== 0x0a && c !== 0x0d && c !== 0x0c && c !== 0x1b) || c === 0x7f) return undefined;
	}
	try {
		return new TextDecoder('utf-8', { fatal: true }).decode(head, { stream: true });
	} catch {
		return undefined;
	}
}

/** True when an end-of-central-directory record is where a zip with something before it has it. */
async function endsLikeZip(source: ByteSource): Promise<boolean> {
	const length = Math.min(source.size, ZIP_TAIL_BYTES);
	const tail = await source.read(source.size - length, length);
	for (let at = length - 22; at >= 0; at--) {
		if (tail[at] === 0x50 && hasBytes(tail, at, 'PK\x05\x06')) return true;
	}
	return false;
}
