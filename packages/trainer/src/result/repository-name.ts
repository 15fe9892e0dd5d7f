import { FormatError, quote } from '@lorakit/format';
import { oneLine } from './escape-markdown.js';

/**
 * A repository of the Hub as `owner/name`, checked by the Hub's own rules: letters, digits, `-`, `_` and `.`, each part at most
 * 96 long, no `--` or `..`, no `-` or `.` at an end, not ending in `.git`.
 * Source: huggingface_hub src/huggingface_hub/utils/_validators.py `validate_repo_id`.
 *
 * A path on this machine is no repository: `./sd15`, `/models/sd15`, `C:\sd15`, `~/sd15`, `sd15.safetensors`. Whether `output/sd15`
 * is a folder here only Node can tell; callers there look.
 *
 * @param what for the message: "base_model", "--push-to-hub"
 * @throws {FormatError} `E_HUB`
 */
export function repositoryName(text: string, what: string): string {
	const local =
		/^(?:[/~.]|[A-Za-z]:[\\/]|file:)/.test(text) || text.includes('\\') || /\.(?:safetensors|ckpt|bin|pt|pth|onnx|gguf)$/i.test(text);
	if (local) {
		throw new FormatError(
			'E_HUB',
			`${what} is ${quote(text)}, a path on this machine, which nobody else can load; name a repository of the Hub as owner/name.`,
		);
	}
	const parts = text.split('/');
	if (parts.length !== 2 || !parts.every((part) => NAME.test(part)) || /--|\.\./.test(text) || /\.git$/i.test(text)) {
		throw new FormatError('E_HUB', `${what} is ${quote(text)}, which is no repository of the Hub; those are named owner/name.`);
	}
	return text;
}

const NAME = /^[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?$/;

/**
 * A path of a file beside a card: relative, `/` between its parts, nothing that leaves the folder or hides in a terminal.
 * @throws {FormatError} `E_NAME`
 */
export function checkBesidePath(text: string): void {
	const parts = text.split('/');
	if (parts.every((part) => part !== '' && part !== '.' && part !== '..') && !/[\\:]/.test(text) && text === oneLine(text)) return;
	throw new FormatError('E_NAME', `${quote(text)} is no path beside the model card.`, { at: text });
}
