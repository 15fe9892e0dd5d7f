import { type ByteSource, fileHashes } from '@lorakit/format';
import { createNodeSha256 } from '@lorakit/format/node';
import type { Base } from '@lorakit/runtime';
import { weightFiles } from '@lorakit/runtime/node';
import type { BaseFacts, BaseFile } from '../../result/training-facts.js';

/** The hashes of a base. */
export interface BaseHashes {
	/** Every weight file that is used, by path. */
	readonly files: readonly BaseFile[];
	/** Of a single-file checkpoint alone: what A1111 and kohya called it by first. */
	readonly autoV1: string | undefined;
}

/**
 * Read all weight files of an open base once, for `BaseFacts`. @param progress bytes of all files
 * @throws {FormatError} those of reading
 */
export async function baseHashes(
	base: Pick<Base, 'weights' | 'kind' | 'textEncoders'>,
	progress?: (done: number, total: number) => void,
): Promise<BaseHashes> {
	const sources = weightFiles(base);
	const total = [...sources.values()].reduce((sum, source) => sum + source.size, 0);
	const files: BaseFile[] = [];
	let autoV1: string | undefined;
	let done = 0;
	const seen = (bytes: number): void => {
		done += bytes;
		progress?.(done, total);
	};
	for (const [path, source] of sources) {
		const hashes = await fileHashes(counting(source, seen), undefined, createNodeSha256);
		files.push({ path, bytes: source.size, sha256: hashes.sha256 });
		autoV1 = hashes.autoV1;
	}
	return { files, autoV1: base.kind === 'file' && files.length === 1 ? autoV1 : undefined };
}

/** The same with zeros for hashes, for what has to know its size alone. */
export function unhashed(base: Pick<Base, 'weights' | 'kind' | 'textEncoders'>): BaseHashes {
	const files = [...weightFiles(base)].map(([path, { size }]) => ({ path, bytes: size, sha256: '0'.repeat(64) }));
	return { files, autoV1: base.kind === 'file' && files.length === 1 ? '0'.repeat(8) : undefined };
}

function counting(source: ByteSource, seen: (bytes: number) => void): ByteSource {
	return {
		name: source.name,
		size: source.size,
		remote: source.remote,
		async read(offset, length) {
			const bytes = await source.read(offset, length);
			seen(bytes.byteLength);
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
