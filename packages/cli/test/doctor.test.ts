import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, it } from 'vitest';
import { lora } from './cli.js';

describe('lora doctor', () => {
	it('says by its schema what works, why the rest does not, and what to do', () => {
		const ran = lora(['doctor', '--json']);
		expect(ran.code).toBe(0);
		const doc = JSON.parse(ran.out);
		const check = new Ajv2020({ allErrors: true, allowUnionTypes: true }).compile(JSON.parse(lora(['doctor', '--schema']).out));
		expect(check(doc), JSON.stringify(check.errors)).toBe(true);
		const { engines } = doc as {
			readonly engines: readonly { engine: string; device: string; works: boolean; fp16: boolean; why: string | null }[];
		};
		const find = (engine: string, device: string) => engines.find((e) => e.engine === engine && e.device === device);
		// Needs nothing, and what the tests of this package install.
		expect(find('float64', 'cpu')).toMatchObject({ works: true, why: null });
		expect(find('onnx', 'cpu')).toMatchObject({ works: true, fp16: false, why: null });
		for (const { works, why } of engines) expect(works).toBe(why === null);
		if (process.platform === 'linux') expect(find('onnx', 'coreml')?.why).toMatch(/coreml/);
	});

	it('prints a line for each', () => {
		const { code, out } = lora(['doctor', '--quiet']);
		expect(code).toBe(0);
		expect(out).toMatch(/^Node v\d+/);
		expect(out.match(/^(works|no {3}) {2}(onnx|tfjs|float64) /gm)).toHaveLength(10);
	});
});
