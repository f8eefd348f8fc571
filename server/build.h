/* build.h - what this program was made of, and what this processor lets it do: for --version, / and efm_build_info.
 *
 * Threads: any. */
#ifndef SRV_BUILD_H
#define SRV_BUILD_H

struct srv_build {
    const char *version;         /* "0.1.0" */
    const char *compiler;        /* "gcc 12.2.0" */
    const char *onednn;          /* its version */
    const char *instruction_set; /* that oneDNN uses here: "avx512_core_amx" */
    const char *kernels;         /* of the exact field: "avx512" */
    const char *precision;       /* what --precision auto stands for here */
    char processor[64]; /* what it has of these, with spaces between: "avx2 fma avx512f avx512bf16 amx" */
};

void srv_build_read(struct srv_build *build);

#endif
