import fs from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type FakeRepo, type HubServer, startHub } from '../../../../runtime/test/io/hub/hub-server.js';
import { hubEnv, listing, refusal, utf8 } from '../../../../runtime/test/io/hub/support.js';
import { openHubDataset } from '../../../src/io/data/hub-dataset.js';
import { parquetFixture, ROWS } from '../../data/parquet-support.js';

let server: HubServer;
beforeEach(async () => {
	server = await startHub();
});
afterEach(() => server.close());

const COMMIT = '0123456789abcdef0123456789abcdef01234567';
const OTHER = 'fedcba9876543210fedcba9876543210fedcba98';
const SHARD = 'data/train-00000-of-00001-566cc9b19d7203f8.parquet';

/** The set of the post, as the Hub has it. */
function pokemon(changes: Partial<FakeRepo> = {}): FakeRepo {
	const files = new Map([
		['.gitattributes', utf8('*.parquet filter=lfs\n')],
		['README.md', utf8('---\nlicense: cc-by-nc-sa-4.0\n---\n# Pokémon\n')],
		[SHARD, parquetFixture('train-00000-of-00001')],
		['data/test-00000-of-00001.parquet', parquetFixture('plain-v1')],
	]);
	return { commit: COMMIT, files, lfs: new Set([SHARD]), ...changes };
}

/** An image folder: the pictures of a Parquet fixture as files. */
async function imageFolder(prefix: string, captions: 'metadata' | 'txt'): Promise<Map<string, Uint8Array>> {
	const { openBytes } = await import('../../data/parquet-support.js');
	const set = await openBytes(parquetFixture('plain-v1'));
	const files = new Map<string, Uint8Array>([['README.md', utf8('pictures')]]);
	const lines: string[] = [];
	for (const [i, item] of set.items.entries()) {
		files.set(`${prefix}0${i}.png`, await item.read());
		lines.push(JSON.stringify({ file_name: `0${i}.png`, text: item.captions[0] }));
		if (captions === 'txt') files.set(`${prefix}0${i}.txt`, utf8(item.captions[0] ?? ''));
	}
	if (captions === 'metadata') files.set(`${prefix}metadata.jsonl`, utf8(lines.join('\n')));
	return files;
}

const expected = ROWS['train-00000-of-00001']?.map(([hash, caption]) => [hash, [caption]]);
const resolved = (): string[] => server.seen.filter(({ url }) => url.includes('/resolve/')).map(({ url }) => url);

describe('a data set of the Hub', () => {
	it('is fetched, only what is read of it, and then taken from the cache', async () => {
		server.repos.set('datasets/lambdalabs/pokemon-blip-captions', pokemon());
		const env = hubEnv(server);
		for (const name of [
			'lambdalabs/pokemon-blip-captions',
			'datasets/lambdalabs/pokemon-blip-captions',
			'hf://datasets/lambdalabs/pokemon-blip-captions@main',
			`${server.endpoint}/datasets/lambdalabs/pokemon-blip-captions`,
		]) {
			const { dataset, repo, revision, kind } = await openHubDataset(name, { hub: { env } });
			expect([repo, revision, kind]).toEqual(['lambdalabs/pokemon-blip-captions', COMMIT, 'parquet']);
			expect(dataset.name).toBe('lambdalabs/pokemon-blip-captions');
			expect(dataset.items.map(({ sha256, captions }) => [sha256, captions])).toEqual(expected);
			expect(dataset.items[0]?.name).toBe(`${SHARD}#0`);
			await dataset.items[7]?.read();
			await dataset.close();
		}
		expect(resolved()).toEqual([`/datasets/lambdalabs/pokemon-blip-captions/resolve/${COMMIT}/${SHARD}`]);
		const root = 'datasets--lambdalabs--pokemon-blip-captions';
		expect(Object.keys(listing(env.HF_HUB_CACHE)).filter((name) => !name.includes('/blobs/'))).toEqual([
			'CACHEDIR.TAG',
			`${root}/refs/main`,
			`${root}/snapshots/${COMMIT}/${SHARD}`,
		]);
		server.seen.length = 0;
		const offline = await openHubDataset('lambdalabs/pokemon-blip-captions', { hub: { env, offline: true } });
		expect(offline.dataset.items.map(({ sha256, captions }) => [sha256, captions])).toEqual(expected);
		expect(server.seen).toEqual([]);
		const missing = await refusal(() => openHubDataset('lambdalabs/pokemon-blip-captions', { split: 'test', hub: { env, offline: true } }));
		expect(missing.message).toContain('no split "test"');
	});

	it('has splits and revisions', async () => {
		server.repos.set(
			'datasets/me/set',
			pokemon({ refs: new Map([['v2', OTHER]]), filesAt: new Map([[OTHER, new Map([['all.parquet', parquetFixture('required')]])]]) }),
		);
		const env = hubEnv(server);
		const test = await openHubDataset('me/set', { split: 'test', hub: { env } });
		expect(test.dataset.items[0]?.name).toBe('data/test-00000-of-00001.parquet#0');
		const v2 = await openHubDataset('me/set@v2', { hub: { env } });
		expect([v2.revision, v2.dataset.items.length]).toEqual([OTHER, 100]);
		expect((await openHubDataset('me/set', { hub: { env, revision: OTHER, offline: true } })).dataset.digest).toBe(v2.dataset.digest);
		expect((await refusal(() => openHubDataset('me/set@v3', { hub: { env } }))).message).toContain('no such branch');
		expect((await refusal(() => openHubDataset('me/set', { split: 'faces', hub: { env } }))).message).toContain('no split "faces"');
	});

	it.each(['metadata', 'txt'] as const)('may be an image folder with captions as %s', async (captions) => {
		const files = await imageFolder(captions === 'metadata' ? 'train/' : '', captions);
		server.repos.set('datasets/me/pictures', {
			commit: COMMIT,
			files: new Map([...files, ['other/big.bin', new Uint8Array(100)]]),
			lfs: new Set([...files.keys()].filter((name) => name.endsWith('0.png'))),
		});
		const env = hubEnv(server);
		const { dataset, kind } = await openHubDataset('me/pictures', { hub: { env } });
		expect(kind).toBe('image-folder');
		expect(dataset.items.map(({ sha256, captions }) => [sha256, captions])).toEqual(expected);
		expect(resolved().some((url) => url.includes('big.bin') || url.includes('README'))).toBe(false);
		expect((await openHubDataset('me/pictures', { hub: { env, offline: true } })).dataset.digest).toBe(dataset.digest);
		expect((await refusal(() => openHubDataset('me/pictures', { imageColumn: 'image', hub: { env } }))).code).toBe('E_USAGE');
	});

	it('is taken as the Hub converts it, where it is in another form', async () => {
		const filesAt = new Map([[OTHER, new Map([['default/train/0000.parquet', parquetFixture('train-zstd-3groups')]])]]);
		const repo = {
			commit: COMMIT,
			files: new Map([['pictures.tar', utf8('webdataset')]]),
			refs: new Map([['refs/convert/parquet', OTHER]]),
			filesAt,
		};
		server.repos.set('datasets/me/tar', repo);
		const env = hubEnv(server);
		const { dataset, revision } = await openHubDataset('me/tar', { hub: { env } });
		expect(revision).toBe(OTHER);
		expect(dataset.items.map(({ sha256, captions }) => [sha256, captions])).toEqual(expected);
		expect((await openHubDataset('me/tar', { hub: { env, offline: true } })).dataset.digest).toBe(dataset.digest);
		// Not where a revision was asked for, and not when there is none.
		expect((await refusal(() => openHubDataset(`me/tar@${COMMIT}`, { hub: { env } }))).message).toContain(
			'neither Parquet files nor pictures',
		);
		server.repos.set('datasets/me/tar2', { ...repo, refs: new Map(), filesAt: new Map() });
		expect((await refusal(() => openHubDataset('me/tar2', { hub: { env } }))).message).toContain('neither Parquet files nor pictures');
	});

	it('goes on where a transfer broke, and takes no wrong byte', async () => {
		server.repos.set('datasets/me/set', pokemon());
		server.faults.breakAfter.set(SHARD, [1500]);
		const env = hubEnv(server);
		const { dataset } = await openHubDataset('me/set', { hub: { env, backoffMs: 1 } });
		expect(dataset.items.length).toBe(8);
		expect(server.seen.filter(({ at }) => at === 'storage').map(({ headers }) => headers.range)).toEqual([undefined, 'bytes=1500-']);
		server.faults.corrupt.set(SHARD, 2);
		const fresh = hubEnv(server);
		expect((await refusal(() => openHubDataset('me/set', { hub: { env: fresh, backoffMs: 1 } }))).message).toContain(
			'do not have the checksum',
		);
		expect(fs.existsSync(path.join(fresh.HF_HUB_CACHE, 'datasets--me--set/refs'))).toBe(false);
	});

	it('says why it cannot be had', async () => {
		server.repos.set('datasets/me/gated', pokemon({ token: 'hf_secret', errorCode: 'GatedRepo' }));
		const env = hubEnv(server);
		expect((await refusal(() => openHubDataset('me/gated', { hub: { env } }))).message).toContain('gated');
		expect((await openHubDataset('me/gated', { hub: { env: { ...env, HF_TOKEN: 'hf_secret' } } })).dataset.items.length).toBe(8);
		expect((await refusal(() => openHubDataset('me/none', { hub: { env } }))).code).toBe('E_HUB');
		expect((await refusal(() => openHubDataset('me/none', { hub: { env, offline: true } }))).message).toContain('not in the cache');
		expect((await refusal(() => openHubDataset('./local', { hub: { env } }))).code).toBe('E_HUB');
		expect((await refusal(() => openHubDataset(`me/gated/${SHARD}`, { hub: { env } }))).code).toBe('E_USAGE');
		// A model of the same name is another repository.
		server.repos.set('me/model', pokemon());
		expect((await refusal(() => openHubDataset('me/model', { hub: { env } }))).code).toBe('E_HUB');
	});
});
