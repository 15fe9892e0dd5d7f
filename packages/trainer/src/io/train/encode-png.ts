import { FormatError } from '@lorakit/format';

/** An RGB picture as PNG, by sharp. @param data (height, width, 3) @throws {FormatError} `E_USAGE` without sharp */
export async function encodePng(data: Uint8Array, width: number, height: number): Promise<Uint8Array> {
	let sharp: typeof import('sharp')['default'];
	try {
		const module = (await import('sharp')) as { readonly default?: typeof import('sharp')['default'] };
		// As a script's require gives it, the function is the module.
		sharp = module.default ?? (module as unknown as typeof import('sharp')['default']);
	} catch (cause) {
		throw new FormatError('E_USAGE', 'Pictures are encoded by sharp, which is not installed or does not load here: npm install sharp', {
			cause,
		});
	}
	return new Uint8Array(
		await sharp(data, { raw: { width, height, channels: 3 } })
			.png()
			.toBuffer(),
	);
}
