import { type Embedding, embeddingsAsAdapter, FormatError, quote } from '@lorakit/format';
import { hashSource } from '@lorakit/format/node';
import { openInput } from '../open-input.js';

/** A file of `--embedding`. */
export interface OpenedEmbedding {
	readonly path: string;
	/** As given behind `=`; undefined: the file's own. */
	readonly token: string | undefined;
	readonly sha256: string;
	readonly embeddings: readonly Embedding[];
	close(): Promise<void>;
}

/**
 * `FILE[=token]` each.
 * @throws {FormatError} `E_NOT_A_LORA` for a file without embeddings, `E_USAGE` for a name given to several tokens, and those
 *   of reading; all are closed then.
 */
export async function openEmbeddings(specs: readonly string[]): Promise<readonly OpenedEmbedding[]> {
	const opened: OpenedEmbedding[] = [];
	try {
		for (const spec of specs) opened.push(await openOne(spec));
		return opened;
	} catch (error) {
		for (const { close } of opened) await close();
		throw error;
	}
}

async function openOne(spec: string): Promise<OpenedEmbedding> {
	const { path, token } = splitSpec(spec);
	const opened = await openInput(path, { values: true, companions: false });
	try {
		const embeddings = embeddingsAsAdapter(opened.input)?.embeddings ?? [];
		if (embeddings.length === 0) {
			throw new FormatError('E_NOT_A_LORA', `${quote(path)} has no embeddings of textual inversion in it; adapters go to --lora.`);
		}
		const tokens = [...new Set(embeddings.map((e) => e.token))];
		if (token !== undefined && tokens.length > 1) {
			throw new FormatError(
				'E_USAGE',
				`${quote(path)} has ${tokens.length} tokens (${tokens.slice(0, 4).map(quote).join(', ')}), so one name for it is not enough; leave =${token} out.`,
			);
		}
		const [main] = opened.sources;
		if (main === undefined) throw new TypeError('an input without a file');
		return {
			path: opened.main,
			token,
			sha256: await hashSource(main),
			embeddings: token === undefined ? embeddings : embeddings.map((e) => ({ ...e, token })),
			close: () => opened.close(),
		};
	} catch (error) {
		await opened.close();
		throw error;
	}
}

/** The token is behind the last `=` that is in no folder's name. */
function splitSpec(spec: string): { readonly path: string; readonly token: string | undefined } {
	const cut = spec.lastIndexOf('=');
	if (cut < 1 || /[/\\]/.test(spec.slice(cut))) return { path: spec, token: undefined };
	const token = spec.slice(cut + 1);
	if (token === '')
		throw new FormatError('E_USAGE', `${quote(spec)} ends with =; write FILE=token, for example style.safetensors=<style>.`);
	return { path: spec.slice(0, cut), token };
}
