import { type CliCommand, examples } from '../command.js';
import { examineEngines } from '../doctor/examine-engines.js';
import { outputOptions } from '../options.js';
import type { OutputMode } from '../output.js';
import { printSchema } from '../schema.js';

interface DoctorFlags extends OutputMode {
	readonly schema?: boolean | undefined;
}

/** `lora doctor` */
export const doctorCommand: CliCommand = {
	define(command, context) {
		outputOptions(command)
			.addHelpText(
				'after',
				`${examples('lora doctor', 'lora doctor --json')}
Every engine and device that "lora generate" knows is tried with one small sum. Exit code 1 when none works.
`,
			)
			.action(async (flags: DoctorFlags) => {
				const output = context.open(flags);
				if (flags.schema === true) return printSchema(output, 'doctor');
				const report = await examineEngines();
				if (flags.json === true) output.document(report, true);
				else {
					const { node, platform, arch, cores, memory } = report.machine;
					output.line(`Node ${node}, ${platform} ${arch}, ${cores} cores, ${(memory / 1e9).toFixed(1)} GB of memory`);
					for (const { engine, device, works, fp16, about, why } of report.engines) {
						output.line(`${works ? 'works' : 'no   '}  ${engine.padEnd(8)} ${device.padEnd(7)} ${about}${fp16 ? '; has float16' : ''}`);
						if (why !== null && flags.quiet !== true) output.line(`       ${why}`);
					}
				}
				if (!report.engines.some(({ works }) => works)) output.failQuietly();
			});
	},
};
