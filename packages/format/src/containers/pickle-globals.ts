import { FormatError, quote } from '../errors.js';
import type { GlobalRole, PyDict, PyGlobal, RebuildHow } from './pickle-value.js';
import { TORCH_DTYPE_ALIASES, TORCH_DTYPES } from './torch-dtype.js';

/**
 * The allow-list: exact (module, name) pairs, in Maps, because names come from the file and `__proto__` or
 * `constructor` must be nothing but strings. Every name is data; none is imported, none of Python's code runs.
 *
 * Source of the pairs: pytorch `torch/_weights_only_unpickler.py` (2.13 has 144 names), LAYOUTS.md 8.2 and 8.4,
 * SECURITY.md 2. Protocol 2 pickles spell `builtins` as `__builtin__`.
 */
const TABLE: ReadonlyMap<string, ReadonlyMap<string, PyGlobal>> = build();

/**
 * Look a name up.
 * @param where names the pickle and the byte, for the message
 * @throws {FormatError} `E_PICKLE_GLOBAL` for a name that is not on the list, `E_UNSUPPORTED_TENSOR` for a kind of
 * tensor that has no plain bytes.
 */
export function findGlobal(module: string, name: string, where: string): PyGlobal {
	const found = TABLE.get(module)?.get(name);
	if (found === undefined) {
		const full = quote(`${module}.${name}`);
		throw new FormatError(
			'E_PICKLE_GLOBAL',
			`${where} names the Python object ${full}, which is not among the harmless ones that weights need; nothing was executed. Do not load this file in Python; ask for a safetensors file.`,
			{ at: `${module}.${name}` },
		);
	}
	if (found.role.kind === 'unsupported') {
		throw new FormatError(
			'E_UNSUPPORTED_TENSOR',
			`${where} holds ${found.role.what} (${module}.${name}), which has no plain bytes to read; save it as a dense tensor in Python first.`,
			{ at: `${module}.${name}` },
		);
	}
	return found;
}

function build(): Map<string, Map<string, PyGlobal>> {
	const table = new Map<string, Map<string, PyGlobal>>();
	const put = (module: string, name: string, role: GlobalRole): void => {
		const names = table.get(module) ?? new Map<string, PyGlobal>();
		table.set(module, names);
		names.set(name, { t: 'global', module, name, role });
	};
	for (const type of ['OrderedDict', 'defaultdict', 'Counter'] as const satisfies readonly PyDict['type'][]) {
		put('collections', type, { kind: 'dict', type });
	}
	for (const module of ['builtins', '__builtin__']) {
		put(module, 'dict', { kind: 'dict', type: 'dict' });
		put(module, 'set', { kind: 'set' });
		put(module, 'frozenset', { kind: 'set' });
		put(module, 'complex', { kind: 'complex' });
		put(module, 'bytearray', { kind: 'bytes' });
		put(module, 'bytes', { kind: 'bytes' });
		// Only ever seen as the factory of a defaultdict; calling one is refused.
		for (const name of ['list', 'tuple', 'int', 'float', 'str', 'bool']) put(module, name, { kind: 'class' });
	}
	put('_codecs', 'encode', { kind: 'codecs-encode' });
	putTorch(put);
	putOpaque(put);
	return table;
}

type Put = (module: string, name: string, role: GlobalRole) => void;

function putTorch(put: Put): void {
	put('torch', 'Size', { kind: 'size' });
	put('torch', 'device', { kind: 'device' });
	put('torch', 'Tensor', { kind: 'tensor-class' });
	put('torch.nn.parameter', 'Parameter', { kind: 'tensor-class' });
	put('torch.nn.parameter', 'Buffer', { kind: 'tensor-class' });
	put('torch.serialization', '_get_layout', { kind: 'layout' });
	const rebuilders: readonly (readonly [string, string, RebuildHow])[] = [
		['torch._utils', '_rebuild_tensor', 'tensor'],
		['torch._utils', '_rebuild_tensor_v2', 'tensor_v2'],
		['torch._utils', '_rebuild_tensor_v3', 'tensor_v3'],
		['torch._utils', '_rebuild_parameter', 'parameter'],
		['torch._utils', '_rebuild_parameter_with_state', 'parameter_with_state'],
		['torch._tensor', '_rebuild_from_type_v2', 'from_type_v2'],
	];
	for (const [module, name, how] of rebuilders) put(module, name, { kind: 'rebuild', how });
	const byName = new Map(TORCH_DTYPES.map((t) => [t.name, t]));
	for (const dtype of TORCH_DTYPES) {
		put('torch', dtype.name, { kind: 'dtype', dtype });
		if (dtype.storage === undefined) continue;
		for (const module of ['torch', 'torch.cuda', 'torch.storage']) put(module, dtype.storage, { kind: 'storage', dtype });
	}
	for (const [alias, name] of TORCH_DTYPE_ALIASES) {
		const dtype = byName.get(name);
		if (dtype !== undefined) put('torch', alias, { kind: 'dtype', dtype });
	}
	for (const name of ['UntypedStorage', '_UntypedStorage']) {
		for (const module of ['torch', 'torch.storage', 'torch.cuda']) put(module, name, { kind: 'storage', dtype: undefined });
	}
	const unsupported: readonly (readonly [string, string, string])[] = [
		['torch._utils', '_rebuild_qtensor', 'a quantised tensor'],
		['torch._utils', '_rebuild_sparse_tensor', 'a sparse tensor'],
		['torch._utils', '_rebuild_sparse_csr_tensor', 'a sparse CSR tensor'],
		['torch._utils', '_rebuild_nested_tensor', 'a nested tensor'],
		['torch._utils', '_rebuild_meta_tensor_no_storage', 'a meta tensor, which has a shape but no values'],
		['torch._utils', '_rebuild_wrapper_subclass', 'a tensor subclass'],
		['torch._utils', '_rebuild_device_tensor_from_numpy', 'a tensor kept as a numpy array'],
		['torch._utils', '_rebuild_device_tensor_from_cpu_tensor', 'a tensor of a special device'],
		['torch._utils', '_rebuild_xla_tensor', 'a tensor of an XLA device'],
		['torch._tensor', '_rebuild_from_type', 'a tensor subclass of old torch'],
	];
	for (const [module, name, what] of unsupported) put(module, name, { kind: 'unsupported', what });
	for (const name of ['QInt8Storage', 'QInt32Storage', 'QUInt8Storage', 'QUInt4x2Storage', 'QUInt2x4Storage']) {
		put('torch', name, { kind: 'unsupported', what: 'a quantised storage' });
	}
}

/**
 * Classes that training checkpoints hold beside the weights. They stay names: an instance becomes an inert
 * placeholder that is reported with `W_OPAQUE_GLOBAL`. Seen in sd-v1-4.ckpt and other Lightning checkpoints, and
 * wherever a numpy number was saved.
 */
function putOpaque(put: Put): void {
	for (const module of ['numpy.core.multiarray', 'numpy._core.multiarray']) {
		for (const name of ['scalar', '_reconstruct']) put(module, name, { kind: 'opaque' });
	}
	for (const name of ['dtype', 'ndarray']) put('numpy', name, { kind: 'opaque' });
	for (const root of ['pytorch_lightning', 'lightning.pytorch']) {
		put(`${root}.callbacks.model_checkpoint`, 'ModelCheckpoint', { kind: 'opaque' });
		put(`${root}.callbacks.early_stopping`, 'EarlyStopping', { kind: 'opaque' });
		put(`${root}.callbacks.lr_monitor`, 'LearningRateMonitor', { kind: 'opaque' });
	}
}
