import { createHash } from 'node:crypto';
import { hashSource } from '@lorakit/format/node';
import type { Base } from '@lorakit/runtime';
import { weightFiles } from '@lorakit/runtime/node';

/** What a base is, by its bytes. */
export interface BaseIdentity {
	/** Every weight file that is used, sorted. */
	readonly files: readonly { readonly path: string; readonly bytes: number; readonly sha256: string }[];
	/** SHA-256 of what its configuration files say: widths, scheduler, tokenizer. */
	readonly configuration: string;
}

/** Read all weight files of the base once. @throws {FormatError} those of reading. */
export async function identifyBase(base: Base): Promise<BaseIdentity> {
	const files = [];
	for (const [path, source] of weightFiles(base)) {
		files.push({ path, bytes: source.size, sha256: await hashSource(source) });
	}
	const said = [base.architecture, base.unet, base.vae, base.textEncoders, base.scheduler, base.tokenizers, base.forceZerosForEmptyPrompt];
	return { files, configuration: createHash('sha256').update(JSON.stringify(said)).digest('hex') };
}

/** The hash that A1111 shows for a checkpoint (AutoV2): of the file, or of a folder's UNet. */
export function modelHash({ files }: BaseIdentity): string | undefined {
	const file = files.length === 1 ? files[0] : files.find(({ path }) => path.startsWith('unet/'));
	return file?.sha256.slice(0, 10);
}
