// A plugin of QEMU that counts what a program for arm64 executes, function by function: instructions, vector and
// scalar multiply-adds of f32, and products of bf16. tests/tools/count_arm64.py builds and uses it.
//
//   qemu-aarch64 -plugin ./count_instructions.so,out=counts.tsv PROGRAM
//
// The declarations are those of qemu-plugin.h, version 1, which Debian's qemu-user comes without.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { ADD = 0 };
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *, int, void *, uint64_t);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void *), void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
const char *qemu_plugin_insn_symbol(const struct qemu_plugin_insn *);

#define EXPORTED __attribute__((visibility("default")))
EXPORTED int qemu_plugin_version = 1;

enum { ALL, VECTOR_FMA, SCALAR_FMA, BF16, KINDS };

// What is fixed in an instruction's word, and its kind.
static const struct { uint32_t mask, bits; int kind; } patterns[] = {
    {0xFFE0FC00, 0x4E20CC00, VECTOR_FMA}, // fmla, 4s
    {0xFFC0F400, 0x4F801000, VECTOR_FMA}, // fmla, 4s by element
    {0xFFE08000, 0x1F000000, SCALAR_FMA}, // fmadd, s
    {0xFFE0FC00, 0x6E40EC00, BF16},       // bfmmla
    {0xFFE0FC00, 0x6E40FC00, BF16},       // bfdot, 4s
    {0xFFC0F400, 0x4F40F000, BF16},       // bfdot, 4s by element
};

struct function {
    const char *name;
    uint64_t counts[KINDS];
    struct function *next;
};
static struct function *functions;
static const char *out;

// Names are the same pointer for all instructions of a function.
static struct function *named(const char *name) {
    for (struct function *f = functions; f; f = f->next)
        if (f->name == name) return f;
    struct function *f = calloc(1, sizeof *f);
    if (!f) abort();
    f->name = name;
    f->next = functions;
    return functions = f;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); i++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, i);
        struct function *f = named(qemu_plugin_insn_symbol(instruction));
        uint32_t word;
        memcpy(&word, qemu_plugin_insn_data(instruction), sizeof word);
        qemu_plugin_register_vcpu_insn_exec_inline(instruction, ADD, &f->counts[ALL], 1);
        for (size_t p = 0; p < sizeof patterns / sizeof *patterns; p++)
            if ((word & patterns[p].mask) == patterns[p].bits)
                qemu_plugin_register_vcpu_insn_exec_inline(instruction, ADD, &f->counts[patterns[p].kind], 1);
    }
}

static void finished(qemu_plugin_id_t id, void *data) {
    (void)id, (void)data;
    FILE *file = fopen(out, "w");
    if (!file) {
        perror(out);
        return;
    }
    for (struct function *f = functions; f; f = f->next) {
        fputs(f->name ? f->name : "", file);
        for (int kind = 0; kind < KINDS; kind++) fprintf(file, "\t%llu", (unsigned long long)f->counts[kind]);
        fputc('\n', file);
    }
    fclose(file);
}

EXPORTED int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv) {
    (void)info;
    if (argc != 1 || strncmp(argv[0], "out=", 4) != 0) {
        fputs("count_instructions: expected out=FILE\n", stderr);
        return 1;
    }
    out = strdup(argv[0] + 4);
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, finished, NULL);
    return 0;
}
