import type { ByteSource } from '@lorakit/format';
import type { Base } from '../base/base.js';

/** Every weight file of an open base that is used, by path, sorted. */
export function weightFiles(base: Pick<Base, 'weights' | 'textEncoders'>): ReadonlyMap<string, ByteSource> {
	const sources = new Map<string, ByteSource>();
	for (const component of ['unet', 'vae', ...base.textEncoders.map((encoder) => encoder.component)]) {
		for (const name of base.weights.names(component)) {
			const place = base.weights.locate(component, name);
			const source = place?.tensor.range?.source;
			if (place !== undefined && source !== undefined) sources.set(place.file, source);
		}
	}
	return new Map([...sources].sort(([a], [b]) => (a < b ? -1 : 1)));
}
