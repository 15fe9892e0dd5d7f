import { expect, it } from 'vitest';
import type { Warning } from '../../src/errors.js';
import { parseAdapterMetadata } from '../../src/metadata/adapter-metadata.js';
import { fitPeftScaling, peftResolver } from '../../src/metadata/peft-scaling.js';

it('splits the flat object by component, bare fields under the empty one', () => {
	const warnings: Warning[] = [];
	const found = parseAdapterMetadata(
		'{"unet.r": 4, "unet.lora_alpha": 8, "text_encoder.r": 2, "text_encoder.use_rslora": true, "x": 1, "r": 3}',
		(w) => warnings.push(w),
	);
	expect([...found.keys()].sort()).toEqual(['', 'text_encoder', 'unet']);
	expect(found.get('unet')).toMatchObject({ r: 4, alpha: 8, rslora: false });
	expect(found.get('text_encoder')).toMatchObject({ r: 2, alpha: 8, rslora: true });
	expect(warnings).toEqual([]);
});

it('names from a file are keys of maps, never properties', () => {
	const found = parseAdapterMetadata('{"__proto__.r": 4, "__proto__.lora_alpha": 8, "constructor.r": 2}', () => {});
	expect([...found.keys()].sort()).toEqual(['__proto__', 'constructor']);
	expect(({} as { r?: number }).r).toBeUndefined();
});

it('a fitted scaling resolves every module to what it was fitted to', () => {
	const modules = [
		{ name: 'proj_out', rank: 8, alpha: 4 },
		{ name: 'blocks.0.proj_out', rank: 4, alpha: 4 },
		{ name: 'blocks.1.proj_out', rank: 4, alpha: -1.5 },
		{ name: 'blocks.1.a+b', rank: 2, alpha: 4 },
		{ name: 'blocks.11.proj_out', rank: 4, alpha: 0 },
	];
	const resolve = peftResolver(fitPeftScaling(modules, false));
	for (const { name, rank, alpha } of modules) expect([name, resolve(name)]).toEqual([name, { rank, alpha }]);
});
