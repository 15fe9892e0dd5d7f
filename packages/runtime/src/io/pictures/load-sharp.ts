import { FormatError } from '@lorakit/format';

/** The function that sharp exports. */
export type Sharp = typeof import('sharp')['default'];

/**
 * sharp, which decodes; loaded when the first picture is.
 * @throws {FormatError} `E_USAGE` where it is not installed or its native part does not load.
 */
export async function loadSharp(load: () => Promise<{ readonly default: Sharp }> = () => import('sharp')): Promise<Sharp> {
	try {
		const module = (await load()) as { readonly default?: Sharp };
		// As a script's require gives it, the function is the module.
		return module.default ?? (module as unknown as Sharp);
	} catch (cause) {
		const missing = cause instanceof Error && 'code' in cause && /MODULE_NOT_FOUND$/.test(String(cause.code));
		const why = missing ? 'which is not installed' : `which does not load here (${firstLine(cause)})`;
		throw new FormatError('E_USAGE', `Pictures are decoded by sharp, ${why}: npm install sharp`, { cause });
	}
}

/** Native parts explain themselves over many lines. */
export function firstLine(error: unknown): string {
	const text = error instanceof Error ? error.message : String(error);
	return (text.split('\n').find((line) => line.trim() !== '') ?? 'no reason given').trim().slice(0, 200);
}
