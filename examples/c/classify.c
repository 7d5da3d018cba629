// A .tflite file that edgecat exported, in C, with LiteRT's C API: classify MODEL.tflite PHOTO.ppm LABEL...
//
// `edgecat info MODEL.tflite` says what to know of the file. Of edgecat/models/catdog-int8.tflite: it reads 224 x 224 pixels,
// RGB, of the whole photo squashed to that size; an int8 file of edgecat's takes bytes 0..255 as they are (its input is uint8),
// and its scores are bytes too, of 1/256 each. The photo here is a binary PPM of that very size.
//
// Build it with LiteRT's headers and library (github.com/google-ai-edge/LiteRT), or with the library that comes in the Python package
// ai-edge-litert, whose few functions used here are declared below as version 2.3 has them:
//     cc -O2 classify.c path/to/ai_edge_litert/libLiteRt.so -o classify
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct LiteRtEnvironmentT *LiteRtEnvironment;
typedef struct LiteRtModelT *LiteRtModel;
typedef struct LiteRtOptionsT *LiteRtOptions;
typedef struct LiteRtCompiledModelT *LiteRtCompiledModel;
typedef struct LiteRtSignatureT *LiteRtSignature;
typedef struct LiteRtTensorT *LiteRtTensor;
typedef struct LiteRtTensorBufferT *LiteRtTensorBuffer;
typedef struct LiteRtTensorBufferRequirementsT *LiteRtTensorBufferRequirements;
typedef struct {
    int element_type;  // kLiteRtElementTypeUInt8 is 3
    struct {
        unsigned rank : 7;
        bool has_strides : 1;
        int32_t dimensions[8];
        uint32_t strides[8];
    } layout;
} LiteRtRankedTensorType;
enum { kLiteRtElementTypeUInt8 = 3, kLiteRtHwAcceleratorCpu = 1, kLiteRtTensorBufferLockModeRead = 0, kLiteRtTensorBufferLockModeWrite = 1 };

int LiteRtCreateEnvironment(int options, const void *values, LiteRtEnvironment *);
int LiteRtCreateModelFromFile(LiteRtEnvironment, const char *path, LiteRtModel *);
int LiteRtCreateOptions(LiteRtOptions *);
int LiteRtSetOptionsHardwareAccelerators(LiteRtOptions, int accelerators);
int LiteRtCreateCompiledModel(LiteRtEnvironment, LiteRtModel, LiteRtOptions, LiteRtCompiledModel *);
int LiteRtGetModelSignature(LiteRtModel, size_t index, LiteRtSignature *);
int LiteRtGetSignatureInputTensorByIndex(LiteRtSignature, size_t index, LiteRtTensor *);
int LiteRtGetSignatureOutputTensorByIndex(LiteRtSignature, size_t index, LiteRtTensor *);
int LiteRtGetRankedTensorType(LiteRtTensor, LiteRtRankedTensorType *);
int LiteRtGetCompiledModelInputBufferRequirements(LiteRtCompiledModel, size_t signature, size_t index, LiteRtTensorBufferRequirements *);
int LiteRtGetCompiledModelOutputBufferRequirements(LiteRtCompiledModel, size_t signature, size_t index, LiteRtTensorBufferRequirements *);
int LiteRtCreateManagedTensorBufferFromRequirements(LiteRtEnvironment, const LiteRtRankedTensorType *, LiteRtTensorBufferRequirements, LiteRtTensorBuffer *);
int LiteRtLockTensorBuffer(LiteRtTensorBuffer, void **address, int mode);
int LiteRtUnlockTensorBuffer(LiteRtTensorBuffer);
int LiteRtRunCompiledModel(LiteRtCompiledModel, size_t signature, size_t inputs, LiteRtTensorBuffer *, size_t outputs, LiteRtTensorBuffer *);
void LiteRtDestroyTensorBuffer(LiteRtTensorBuffer);
void LiteRtDestroyCompiledModel(LiteRtCompiledModel);
void LiteRtDestroyOptions(LiteRtOptions);
void LiteRtDestroyModel(LiteRtModel);
void LiteRtDestroyEnvironment(LiteRtEnvironment);

static void fail(const char *what, const char *name) {
    fprintf(stderr, "classify: %s: %s\n", name, what);
    exit(1);
}

#define CHECK(call) ((call) ? fail("refused by " #call, argv[1]) : (void)0)

int main(int argc, char **argv) {
    if (argc < 4) fail("expected MODEL.tflite PHOTO.ppm LABEL...", "usage");

    LiteRtEnvironment environment;
    LiteRtModel model;
    LiteRtOptions options;
    LiteRtCompiledModel compiled;
    CHECK(LiteRtCreateEnvironment(0, NULL, &environment));
    CHECK(LiteRtCreateModelFromFile(environment, argv[1], &model));
    CHECK(LiteRtCreateOptions(&options));
    CHECK(LiteRtSetOptionsHardwareAccelerators(options, kLiteRtHwAcceleratorCpu));
    CHECK(LiteRtCreateCompiledModel(environment, model, options, &compiled));

    LiteRtSignature signature;
    LiteRtTensor input, output;
    LiteRtRankedTensorType read, said;  // (1, height, width, 3) and (1, labels)
    LiteRtTensorBufferRequirements needs;
    LiteRtTensorBuffer pixels, scores;
    CHECK(LiteRtGetModelSignature(model, 0, &signature));
    CHECK(LiteRtGetSignatureInputTensorByIndex(signature, 0, &input));
    CHECK(LiteRtGetSignatureOutputTensorByIndex(signature, 0, &output));
    CHECK(LiteRtGetRankedTensorType(input, &read));
    CHECK(LiteRtGetRankedTensorType(output, &said));
    if (read.element_type != kLiteRtElementTypeUInt8 || said.element_type != kLiteRtElementTypeUInt8) fail("expected an int8 model with uint8 input and output", argv[1]);
    if (said.layout.dimensions[1] != argc - 3) fail("has another number of labels", argv[1]);
    CHECK(LiteRtGetCompiledModelInputBufferRequirements(compiled, 0, 0, &needs));
    CHECK(LiteRtCreateManagedTensorBufferFromRequirements(environment, &read, needs, &pixels));
    CHECK(LiteRtGetCompiledModelOutputBufferRequirements(compiled, 0, 0, &needs));
    CHECK(LiteRtCreateManagedTensorBufferFromRequirements(environment, &said, needs, &scores));

    // A binary PPM is its size, then the pixels as the model reads them: row by row, R, G, B.
    FILE *photo = fopen(argv[2], "rb");
    int width, height;
    if (!photo || fscanf(photo, "P6 %d %d 255", &width, &height) != 2 || fgetc(photo) == EOF) fail("expected a binary PPM", argv[2]);
    if (height != read.layout.dimensions[1] || width != read.layout.dimensions[2]) fail("has another size than the model reads", argv[2]);
    void *bytes;
    CHECK(LiteRtLockTensorBuffer(pixels, &bytes, kLiteRtTensorBufferLockModeWrite));
    if (fread(bytes, 3, (size_t)width * height, photo) != (size_t)width * height) fail("is cut off", argv[2]);
    CHECK(LiteRtUnlockTensorBuffer(pixels));
    fclose(photo);

    CHECK(LiteRtRunCompiledModel(compiled, 0, 1, &pixels, 1, &scores));

    CHECK(LiteRtLockTensorBuffer(scores, &bytes, kLiteRtTensorBufferLockModeRead));
    for (int label = 0; label < argc - 3; label++) printf("%s %.6f\n", argv[3 + label], ((uint8_t *)bytes)[label] / 256.0);
    CHECK(LiteRtUnlockTensorBuffer(scores));

    LiteRtDestroyTensorBuffer(scores);
    LiteRtDestroyTensorBuffer(pixels);
    LiteRtDestroyCompiledModel(compiled);
    LiteRtDestroyOptions(options);
    LiteRtDestroyModel(model);
    LiteRtDestroyEnvironment(environment);
    return 0;
}
