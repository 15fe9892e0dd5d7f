import { FormatError, quote } from '@lorakit/format';
import type { GenerateFlags } from './generate-request.js';
import type { GridAxis } from './grid-spec.js';
import type { PictureRecord } from './picture-record.js';

/** An address, or a share of another machine (Windows hands the user's name to those). */
const REMOTE = /^(?:[a-z][a-z0-9+.-]*:\/\/|[\\/]{2})/i;

/**
 * A picture comes from anywhere: where it says that its parts are elsewhere than on this machine, nothing is fetched until
 * the user names them.
 * @throws {FormatError} `E_USAGE` for an address of the record that no flag stands in for.
 */
export function checkRecordedPlaces(record: PictureRecord, flags: GenerateFlags, axes: readonly GridAxis[]): void {
	const { base, adapters, embeddings, init } = record;
	const check = (places: readonly (string | null | undefined)[], flag: string, given: unknown): void => {
		const remote = places.find((place) => typeof place === 'string' && REMOTE.test(place));
		if (typeof remote !== 'string' || given !== undefined) return;
		throw new FormatError(
			'E_USAGE',
			`The picture says that it was made from ${quote(remote)}; nothing is fetched because a picture says so: name it with ${flag} if you trust it.`,
		);
	};
	check([base.path], '--base', flags.base);
	check([base.config], '--config', flags.config);
	check([base.tokenizer], '--tokenizer', flags.tokenizer);
	check(
		adapters.filter(({ origin }) => origin !== 'grid').map(({ path }) => path),
		'--lora',
		flags.lora,
	);
	check(
		embeddings.map(({ path }) => path),
		'--embedding',
		flags.embedding,
	);
	check([init?.path], '--init-image', flags.initImage);
	check(
		axes.flatMap(({ values }) => values.map(({ change }) => change.lora)),
		'--grid, without --repeat,',
		undefined,
	);
}
