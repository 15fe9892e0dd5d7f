import { FormatError } from '@lorakit/format';
import { describe, expect, it } from 'vitest';
import { chooseShards, type SplitOptions } from '../../src/data/parquet-shards.js';

const choose = (paths: readonly string[], options?: SplitOptions): readonly string[] | undefined => chooseShards(paths, 'the set', options);

function refused(paths: readonly string[], options?: SplitOptions): FormatError {
	try {
		choose(paths, options);
	} catch (error) {
		if (error instanceof FormatError) return error;
	}
	throw new Error('not refused');
}

describe('the files of a split', () => {
	it('are found by the names that the Hub gives', () => {
		const pokemon = ['.gitattributes', 'README.md', 'data/train-00000-of-00001-566cc9b19d7203f8.parquet', 'dataset_infos.json'];
		expect(choose(pokemon)).toEqual(['data/train-00000-of-00001-566cc9b19d7203f8.parquet']);
		const two = ['data/train-00001-of-00002.parquet', 'data/test-00000-of-00001.parquet', 'data/train-00000-of-00002.parquet'];
		expect(choose(two)).toEqual(['data/train-00000-of-00002.parquet', 'data/train-00001-of-00002.parquet']);
		expect(choose(two, { split: 'test' })).toEqual(['data/test-00000-of-00001.parquet']);
		expect(choose(['default/train/0000.parquet', 'default/train/0001.parquet', 'default/validation/0000.parquet'])?.length).toBe(2);
		expect(choose(['default/partial-train/0000.parquet'])).toEqual(['default/partial-train/0000.parquet']);
		expect(choose(['training.parquet', 'eval.parquet'])).toEqual(['training.parquet']);
		expect(choose(['training.parquet', 'eval.parquet'], { split: 'test' })).toEqual(['eval.parquet']);
		expect(choose(['one/faces-00000-of-00001.parquet', 'one/train-00000-of-00001.parquet'], { split: 'faces' })).toEqual([
			'one/faces-00000-of-00001.parquet',
		]);
	});

	it('are all files where no name has the word of a split', () => {
		expect(choose(['b.parquet', 'a.parquet'])).toEqual(['a.parquet', 'b.parquet']);
		// "strain" and "trained" are other words.
		expect(choose(['strain.parquet', 'trained.parquet'])).toEqual(['strain.parquet', 'trained.parquet']);
		expect(choose(['pictures.zip', 'README.md'])).toBeUndefined();
	});

	it('are asked for when there are several configurations', () => {
		const paths = ['cats/train/0000.parquet', 'dogs/train/0000.parquet'];
		expect(refused(paths).code).toBe('E_AMBIGUOUS');
		expect(refused(paths).message).toContain('"cats", "dogs"');
		expect(choose(paths, { config: 'dogs' })).toEqual(['dogs/train/0000.parquet']);
		expect(choose(['default/train/0000.parquet', ...paths])).toEqual(['default/train/0000.parquet']);
		expect(refused(paths, { config: 'birds' }).message).toContain('no folder "birds"');
	});

	it('are refused where the split or a shard is missing', () => {
		const other = refused(['data/test-00000-of-00001.parquet']);
		expect([other.code, other.message]).toEqual(['E_USAGE', 'the set has no split "train"; its splits are "test".']);
		expect(refused(['a.parquet'], { split: 'test' }).message).toContain('no split is named by its files');
		const missing = refused(['data/train-00000-of-00003.parquet', 'data/train-00002-of-00003.parquet']);
		expect(missing.code).toBe('E_SHARD_MISSING');
		expect(missing.message).toContain('2 of the 3 files "data/train-*-of-00003.parquet"; number 1 is not there');
	});
});
