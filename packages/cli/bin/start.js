'use strict';
/**
 * Runs a bundled entry with V8's code cache, which spares compiling the same source at every start (measured: bench/run.mjs,
 * with and without LORAKIT_NO_CODE_CACHE=1). A cache belongs to one build and one Node; V8 refuses any other and compiles as
 * usual. It is written once, at the end of the first run that lacks it, beside the bundle where that folder can be written.
 * Node 22 has `module.enableCompileCache()` for this; Node 20 does not.
 */
const fs = require('node:fs');
const path = require('node:path');
const vm = require('node:vm');

/** @param {string} entry absolute path of a bundle */
module.exports = function start(entry) {
	if (process.env.LORAKIT_NO_CODE_CACHE === '1') return void require(entry);
	const folder = path.join(path.dirname(entry), 'code-cache', `${process.version}-${process.arch}`);
	/** @type {Map<string, { exports: unknown }>} */
	const modules = new Map();
	/** @type {[script: vm.Script, target: string][]} */
	const fresh = [];

	/** @param {string} file */
	function load(file) {
		const known = modules.get(file);
		if (known !== undefined) return known.exports;
		const module = { exports: {} };
		modules.set(file, module);
		// V8 compares only the length of the source: cache what has a hash of its content in its name.
		const hashed = path.basename(path.dirname(file)) === 'chunks';
		const target = path.join(folder, `${path.basename(file)}.bin`);
		const cachedData = hashed ? read(target) : undefined;
		const source = `(function (exports, require, module, __filename, __dirname) {${fs.readFileSync(file, 'utf8')}\n})`;
		const script = new vm.Script(source, { filename: file, ...(cachedData === undefined ? {} : { cachedData }) });
		if (hashed && (cachedData === undefined || script.cachedDataRejected)) fresh.push([script, target]);
		const local = (/** @type {string} */ id) => (id.startsWith('.') ? load(path.join(path.dirname(file), id)) : require(id));
		script.runInThisContext()(module.exports, local, module, file, path.dirname(file));
		return module.exports;
	}

	process.on('exit', () => {
		for (const [script, target] of fresh) write(script, target);
	});
	load(entry);
};

/** @param {string} file */
function read(file) {
	try {
		return fs.readFileSync(file);
	} catch {
		return undefined;
	}
}

/** Nothing depends on it: a folder that cannot be written only means no cache. */
function write(/** @type {vm.Script} */ script, /** @type {string} */ target) {
	const temporary = `${target}.${process.pid}.tmp`;
	try {
		fs.mkdirSync(path.dirname(target), { recursive: true });
		fs.writeFileSync(temporary, script.createCachedData(), { flag: 'wx' });
		fs.renameSync(temporary, target);
	} catch {
		try {
			fs.unlinkSync(temporary);
		} catch {
			// It was never made.
		}
	}
}
