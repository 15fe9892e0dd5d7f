import { FormatError, quote } from '@lorakit/format';
import { type HubSpec, hubSpecOfUrl, parseHubSpec } from '@lorakit/format/node';

/** A place on some machine and not on the Hub: absolute, relative, of Windows, a share, a file URL, the home folder. */
const LOCAL_PATH = /^(?:[/~.]|file:|[A-Za-z]:[\\/]|\\)/;

/**
 * True for a text that can only be a path on somebody's machine: `/home/me/sd15`, `./model`, `C:\sd`, `a/b/c`.
 * `output/sd15` cannot be told from a repository.
 */
export function isLocalPath(text: string): boolean {
	return LOCAL_PATH.test(text) || text.includes('\\') || (!text.includes('://') && text.split('/').length > 2);
}

/**
 * The repository that somebody names as `owner/name`, `owner/name@revision`, `owner/name/file`, `owner/name:file`, the same
 * behind `hf://`, or the address of its page.
 *
 * @throws {FormatError} `E_HUB` with the forms that are taken.
 */
export function parseHubName(text: string, endpoint: string): HubSpec {
	if (/^https?:\/\//.test(text)) {
		const spec = URL.canParse(text) ? (hubSpecOfUrl(new URL(text), endpoint) ?? hubSpecOfUrl(new URL(text), PUBLIC_HUB)) : undefined;
		if (spec !== undefined) return spec;
		throw new FormatError('E_HUB', `${quote(text)} is no page of a model on ${endpoint}; name it as owner/name.`);
	}
	const plain = text.startsWith('hf://') ? text.slice('hf://'.length) : text;
	if (LOCAL_PATH.test(plain) || plain.includes('\\')) {
		throw new FormatError('E_HUB', `${quote(text)} is a path on this machine, not a repository of the Hub; those are named owner/name.`);
	}
	const withFile = /^([^/:]+\/[^/:]+):(.+)$/.exec(plain);
	try {
		return parseHubSpec(`hf://${withFile === null ? plain : `${withFile[1]}/${withFile[2]}`}`);
	} catch (error) {
		throw new FormatError(
			'E_HUB',
			`${quote(text)} names no repository of the Hub; it has the form owner/name, with @REVISION after it, and /FILE or :FILE for one file.`,
			{ cause: error },
		);
	}
}

/** Cards name their base by pages of the public Hub, also where HF_ENDPOINT is a mirror. */
const PUBLIC_HUB = 'https://huggingface.co';
