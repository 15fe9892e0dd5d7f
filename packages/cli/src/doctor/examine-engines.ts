import os from 'node:os';
import { createGraphBuilder, type Engine, f32Tensor } from '@lorakit/runtime';
import { type DeviceName, type EngineChoice, type EngineName, openEngine } from '../generate/open-engine.js';
import { toRefusal } from '../output.js';

/** `lora.doctor/1`, schema/doctor.schema.json: what can compute here. */
export interface DoctorReport {
	readonly schema: 'lora.doctor/1';
	readonly machine: {
		readonly node: string;
		readonly platform: string;
		readonly arch: string;
		readonly cores: number;
		readonly memory: number;
	};
	readonly engines: readonly EngineReport[];
}

/** One engine on one device. */
export interface EngineReport {
	readonly engine: EngineName;
	readonly device: DeviceName;
	/** It multiplied two small matrices, and the product is right. */
	readonly works: boolean;
	/** It has float16 of its own (`lora generate --precision fp16`): the product is right in it too. */
	readonly fp16: boolean;
	readonly about: string;
	/** Why it does not work, and what to do; null when it works. */
	readonly why: string | null;
}

/** What `lora generate --engine E --device D` may be given, and what to say of it. */
const TRIED: readonly Pick<EngineReport, 'engine' | 'device' | 'about'>[] = [
	{ engine: 'onnx', device: 'cpu', about: 'the default: ONNX Runtime on the CPU' },
	{ engine: 'onnx', device: 'cuda', about: 'ONNX Runtime on an NVIDIA card' },
	{ engine: 'onnx', device: 'webgpu', about: 'ONNX Runtime on any graphics card' },
	{ engine: 'onnx', device: 'dml', about: 'ONNX Runtime on DirectML (Windows)' },
	{ engine: 'onnx', device: 'coreml', about: 'ONNX Runtime on Core ML (macOS)' },
	{ engine: 'tfjs', device: 'cuda', about: 'TensorFlow on an NVIDIA card, by tfjs-node-gpu' },
	{ engine: 'tfjs', device: 'webgpu', about: 'TensorFlow.js on any graphics card' },
	{ engine: 'tfjs', device: 'wasm', about: 'TensorFlow.js in WebAssembly: slow' },
	{ engine: 'tfjs', device: 'cpu', about: 'TensorFlow by tfjs-node, else plain JavaScript, which is very slow' },
	{ engine: 'float64', device: 'cpu', about: 'plain TypeScript: exact and slowest, for checks' },
];

/** Try every engine on every device, one after the other. Never throws for one that does not work. */
export async function examineEngines(): Promise<DoctorReport> {
	const engines: EngineReport[] = [];
	for (const { engine, device, about } of TRIED) {
		try {
			const choice = { engine, device, threads: os.availableParallelism() };
			await tryEngine(await openEngine({ ...choice, precision: 'fp32' }));
			engines.push({ engine, device, works: true, fp16: await hasHalf(choice), about, why: null });
		} catch (error) {
			engines.push({ engine, device, works: false, fp16: false, about, why: toRefusal(error).message });
		}
	}
	return {
		schema: 'lora.doctor/1',
		machine: {
			node: process.version,
			platform: process.platform,
			arch: process.arch,
			cores: os.availableParallelism(),
			memory: os.totalmem(),
		},
		engines,
	};
}

/** The CPU has none: ONNX Runtime computes in float32 there and rounds. */
async function hasHalf(choice: Omit<EngineChoice, 'precision'>): Promise<boolean> {
	if (choice.engine !== 'onnx' || choice.device === 'cpu') return false;
	try {
		await tryEngine(await openEngine({ ...choice, precision: 'fp16' }));
		return true;
	} catch {
		return false;
	}
}

/** (1 2; 3 4) times itself is (7 10; 15 22). */
async function tryEngine(engine: Engine): Promise<void> {
	const ops = createGraphBuilder();
	const x = ops.input('x', [2, 2]);
	ops.output('y', ops.apply('matmul', [x, x], { transposeA: false, transposeB: false }));
	const none = async (): Promise<never> => {
		throw new TypeError('a graph without weights');
	};
	const session = await engine.load(ops.graph(), { read: none, stored: () => undefined });
	try {
		const { y } = await session.run({ x: f32Tensor([2, 2], Float32Array.of(1, 2, 3, 4)) });
		const got = Array.from(y?.data ?? []);
		if (got.join() !== '7,10,15,22') throw new Error(`(1 2; 3 4) squared gave ${got.join(' ')}`);
	} finally {
		await session.close();
	}
}
