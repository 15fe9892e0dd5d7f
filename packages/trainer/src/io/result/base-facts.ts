import { type ByteSource, FormatError, fileHashes, quote, type Tensor } from '@lorakit/format';
import { createNodeSha256 } from '@lorakit/format/node';
import type { Base } from '@lorakit/runtime';
import { weightFiles } from '@lorakit/runtime/node';
import { createTensorDigests } from '../../data/tensor-digests.js';
import type { BaseFacts, BaseFile } from '../../result/training-facts.js';

/** The hashes of a base. */
export interface BaseHashes {
	/** Every weight file that is used, by path. */
	readonly files: readonly BaseFile[];
	/** Of a single-file checkpoint alone: what A1111 and kohya called it by first. */
	readonly autoV1: string | undefined;
}

/** What reading all of a base once gives. */
export interface BaseReading {
	readonly hashes: BaseHashes;
	/** SHA-256 of the bytes of tensors that were asked for and lie in its files as they are. */
	readonly tensors: ReadonlyMap<Tensor, string>;
}

/** What is wanted beside the hashes, and who is told. */
export interface ReadBaseOptions {
	/** Whose own digests are wanted too (`identityTensors`): they are taken in the same pass. */
	readonly tensors?: readonly Tensor[] | undefined;
	/** Bytes of all files. */
	readonly onProgress?: ((done: number, total: number) => void) | undefined;
	/** Aborted: nothing more is read. */
	readonly signal?: AbortSignal | undefined;
}

/**
 * Read all weight files of an open base, each once.
 * @throws {FormatError} those of reading, `E_INTERRUPTED`
 */
export async function readBaseOnce(
	base: Pick<Base, 'weights' | 'kind' | 'textEncoders'>,
	{ tensors = [], onProgress, signal }: ReadBaseOptions = {},
): Promise<BaseReading> {
	const sources = weightFiles(base);
	const total = [...sources.values()].reduce((sum, source) => sum + source.size, 0);
	const files: BaseFile[] = [];
	let autoV1: string | undefined;
	let done = 0;
	const found = new Map<Tensor, string>();
	for (const [path, source] of sources) {
		const own = createTensorDigests(
			tensors.filter(({ range }) => range?.source === source),
			createNodeSha256,
		);
		const watched = watching(source, (offset, bytes) => {
			own.update(offset, bytes);
			done += bytes.byteLength;
			onProgress?.(done, total);
			if (signal?.aborted === true) {
				throw new FormatError('E_INTERRUPTED', `stopped while ${quote(path)} of the base was hashed; nothing was computed yet.`);
			}
		});
		const hashes = await fileHashes(watched, undefined, createNodeSha256);
		files.push({ path, bytes: source.size, sha256: hashes.sha256 });
		autoV1 = hashes.autoV1;
		for (const [tensor, digest] of own.digests()) found.set(tensor, digest);
	}
	return { hashes: { files, autoV1: base.kind === 'file' && files.length === 1 ? autoV1 : undefined }, tensors: found };
}

/** The same with zeros for hashes, for what has to know its size alone. */
export function unhashed(base: Pick<Base, 'weights' | 'kind' | 'textEncoders'>): BaseHashes {
	const files = [...weightFiles(base)].map(([path, { size }]) => ({ path, bytes: size, sha256: '0'.repeat(64) }));
	return { files, autoV1: base.kind === 'file' && files.length === 1 ? '0'.repeat(8) : undefined };
}

function watching(source: ByteSource, seen: (offset: number, bytes: Uint8Array) => void): ByteSource {
	return {
		name: source.name,
		size: source.size,
		remote: source.remote,
		async read(offset, length) {
			const bytes = await source.read(offset, length);
			seen(offset, bytes);
			return bytes;
		},
		close: () => source.close(),
	};
}

/** `BaseFacts` of an open base. @param repo `owner/name`, where it is known */
export function baseFacts(
	base: Pick<Base, 'name' | 'architecture'>,
	hashes: BaseHashes,
	predictionType: BaseFacts['predictionType'],
	repo: string | undefined,
): BaseFacts {
	const name = base.name.replace(/[\\/]+$/, '').replace(/^.*[\\/]/, '');
	return { name: name === '' ? base.architecture : name, repo, architecture: base.architecture, predictionType, ...hashes };
}
