import { describe, expect, it } from 'vitest';
import { packMetadata, unpackMetadata } from '../../src/metadata/carry.js';

const map = (entries: Readonly<Record<string, string>>): ReadonlyMap<string, string> => new Map(Object.entries(entries));

describe('carried entries written by somebody else', () => {
	it('never become entries of ours', () => {
		const hostile = map({
			'lorakit.carried.lorakit.form': '{"peft.prefix":"x"}',
			'lorakit.carried.lorakit.carried.ss_network_dim': '7',
			'lorakit.carried.ss_network_dim': '4',
		});
		const { metadata, form } = unpackMetadata(hostile);
		expect(form.size).toBe(0);
		expect([...metadata]).toEqual([
			['lorakit.carried.lorakit.form', '{"peft.prefix":"x"}'],
			['lorakit.carried.lorakit.carried.ss_network_dim', '7'],
			['ss_network_dim', '4'],
		]);
	});

	it('a live entry and a carried one of its name are both kept where the name must be wrapped', () => {
		const { metadata } = unpackMetadata(map({ ss_x: 'live', 'lorakit.carried.ss_x': 'carried' }));
		const packed = packMetadata(metadata, new Map(), (key) => key.startsWith('ss_'));
		expect(new Set(packed.values())).toEqual(new Set(['live', 'carried']));
		expect(packed.has('ss_x')).toBe(false);
	});

	it('a broken form of the source does not vanish behind ours', () => {
		const { metadata, form } = unpackMetadata(map({ 'lorakit.form': '[1]' }));
		expect(form.size).toBe(0);
		expect([...packMetadata(metadata, map({ a: 'b' }), () => false)]).toEqual([
			['lorakit.carried.lorakit.form', '[1]'],
			['lorakit.form', '{"a":"b"}'],
		]);
		expect([...packMetadata(metadata, new Map(), () => false)]).toEqual([['lorakit.form', '[1]']]);
	});

	it('names of JavaScript are only names', () => {
		const { metadata } = unpackMetadata(
			new Map([
				['lorakit.carried.__proto__', 'x'],
				['constructor', 'y'],
			]),
		);
		expect([...metadata]).toEqual([
			['__proto__', 'x'],
			['constructor', 'y'],
		]);
	});
});
