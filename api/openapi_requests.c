// SPDX-License-Identifier: Apache-2.0
/* The shapes of JSON and of forms in requests: what stands beside the parameters, which come from their tables. A name that is not
 * known is refused, so none may be added. Each stands before those that it refers to. */
#include "api/job.h"
#include "api/openapi_internal.h"
#include "api/points.h"
#include "api/resources.h"
#include "api/train.h"
#include "api/transfer.h"
#include "core/data/toy.h"

#define WORD(symbol, word, meaning) "'" word "',"

#define CLOSED "'type':'object','additionalProperties':false"
#define REF(name) "{'$ref':'#/components/schemas/" name "'}"
#define NAME "{'type':'string','pattern':'^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$'}"
#define NUMBERS "{'type':'array','minItems':1,'items':{'type':'number'}}"
#define ROWS "{'type':'array','minItems':1,'items':" NUMBERS "}"
#define BASE64 "{'type':'string','minLength':1,'description':'An image in base64, or a data: address'}"
#define FILES                                                                                                \
    "{'type':'string','contentMediaType':'application/octet-stream','description':'A file; the field may "   \
    "be repeated'}"
#define WHOLE "{'type':'integer'}"
#define AUGMENTATIONS "{'type':'array','items':{'type':'string','enum':['hue','flip','crop']}}"

const struct api_openapi_component api_openapi_request_schemas[] = {
    {"TransferRequest",
     "{" CLOSED ",'description':'One of image, images, vector and vectors, and "
     "parameters','oneOf':[{'required':['image']},"
     "{'required':['images']},{'required':['vector']},{'required':['vectors']}],'properties':{'image':" BASE64
     ",'images':{'type':'array','minItems':1,'items':" BASE64 "},'vector':" NUMBERS ",'vectors':" ROWS ",",
     &api_transfer_table, "}}"},
    {"TransferForm",
     "{" CLOSED ",'properties':{'image':" FILES ",'image[]':" FILES ",'images':" FILES ",'images[]':" FILES
     ",'file':" FILES ",",
     &api_transfer_table, "}}"},
    {"GenerateRequest", "{" CLOSED ",'properties':{", &api_transfer_table, "}}"},
    {"GenerateForm", "{" CLOSED ",'properties':{", &api_transfer_table, "}}"},
    {"FieldRequest",
     "{" CLOSED ",'required':['points'],'properties':{'points':{'type':'array','minItems':1,'description':"
     "'[x_1, ..., x_D, z] of each point','items':" NUMBERS "}}}",
     NULL, NULL},
    {"TraceRequest",
     "{" CLOSED ",'required':['starts'],'properties':{'starts':{'type':'array','minItems':1,'description':"
     "'[x_1, ..., x_D] of each line','items':" NUMBERS "},",
     &api_trace_table, "}}"},
    {"ExactModel",
     "{" CLOSED
     ",'description':'The exact model of two datasets; arch, source and target are needed, here or in the "
     "query','properties':{",
     &api_exact_table, "}}"},

    /* ---- training ---- */
    {"TrainRequest",
     "{" CLOSED ",'required':['source','target'],'properties':{"
     "'model':{'type':'string','description':'The name of what comes out','pattern':"
     "'^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$'},"
     "'replace':{'type':'boolean','default':false,'description':'The model may be one that is there'},"
     "'webhook':{'description':'Is told (Standard Webhooks) when the job has "
     "ended','anyOf':[{'type':'string',"
     "'format':'uri'},{" CLOSED
     ",'required':['url'],'properties':{'url':{'type':'string','format':'uri'}}}]},"
     "'metadata':{'type':'object','maxProperties':16,'propertyNames':{'minLength':1,'maxLength':64},"
     "'additionalProperties':{'type':'string','maxLength':512}},"
     "'source':" REF("TrainPlate") ",'target':" REF("TrainPlate") ",'image':" REF(
         "TrainImage") ",'network':" REF("TrainNetwork") ",'augment':{'description':'Of both plates, or of "
                                                         "each','anyOf':[" AUGMENTATIONS ",{" CLOSED
                                                         ",'properties':{'source':" AUGMENTATIONS
                                                         ",'target':" AUGMENTATIONS "}}]},",
     &api_train_table, "}}"},
    {"TrainPlate",
     "{'anyOf':[{'type':'string','minLength':1,'description':'gaussian, the name of a dataset, or an http(s) "
     "URL'},{" CLOSED ",'description':'One of dataset, url and toy','properties':{'dataset':" NAME
     ",'url':{'type':'string','format':'uri'},'sha256':{'type':'string','description':'Of what is at the "
     "URL','pattern':"
     "'^[0-9a-fA-F]{64}$'},'toy':" REF(
         "Toy") ",'first':{'type':'integer','description':'The first sample; negative: from the end'},"
                "'count':{'type':'integer','description':'Samples; negative: to as many before the "
                "end'},'name':" NAME "}}," REF("Toy") "]}",
     NULL, NULL},
    {"TrainImage",
     "{" CLOSED
     ",'description':'What every image is brought to','required':['height','width'],'properties':{",
     &api_train_image_table, "}}"},
    {"TrainNetwork",
     "{" CLOSED
     ",'properties':{'ch_mult':{'type':'array','description':'unet: channels of each level, as multiples of "
     "nf','minItems':1,'items':{'type':'integer','minimum':1,'maximum':8}},'attention':{'type':'array','"
     "description':"
     "'unet: sides of the levels that have attention','items':{'type':'integer','minimum':1}},",
     &api_train_network_table, "}}"},
    {"Toy",
     "{" CLOSED ",'description':'Samples of a known distribution','required':['toy'],'properties':{"
     "'toy':{'type':'string','enum':[" EFM_TOY_KIND_MAP(
         WORD) "]},"
               "'count':{'type':'integer','minimum':1,'default':2000,'description':'Samples'},"
               "'seed':{'type':'integer','minimum':0,'default':1},"
               "'dimension':{'type':'integer','minimum':1},"
               "'shape':{'type':'array','description':'[height, width, channels] of gaussian and "
               "uniform','minItems':3,"
               "'maxItems':3,'items':{'type':'integer','minimum':1}},"
               "'centers':{'type':'array','description':'Of mixture','minItems':1,'items':" NUMBERS "},"
               "'deviation':{'type':'number','exclusiveMinimum':0,'description':'Of mixture'},"
               "'noise':{'type':'number','minimum':0,'description':'Of swiss_roll'},"
               "'scale':{'type':'number','exclusiveMinimum':0,'description':'Of swiss_roll'}}}",
     NULL, NULL},

    /* ---- Open Inference Protocol ---- */
    {"OipInferRequest",
     "{'type':'object','properties':{'id':{'type':'string'},'parameters':" REF(
         "OipParameters") ",'inputs':{'type':'array','items':{'type':'object','required':['name','shape','"
                          "datatype'],'properties':{'name':{"
                          "'type':'string'},'shape':{'type':'array','items':" WHOLE
                          "},'datatype':{'type':'string','enum':['FP32','FP64','FP16',"
                          "'UINT8','BYTES']},'parameters':" REF(
                              "OipParameters") ",'data':{'type':'array','items':{},'description':'Flat or "
                                               "nested'}}}},"
                                               "'outputs':{'type':'array','items':{'type':'object','required'"
                                               ":['name'],'properties':{'name':{'type':'string','enum':["
                                               "'output','pixels','image']},'parameters':" REF(
                                                   "OipParameters") "}}}}}",
     NULL, NULL},
    {"OipIndexRequest", "{'type':'object','properties':{'ready':{'type':'boolean'}}}", NULL, NULL},
    {"OipLoadRequest", "{'type':'object','properties':{'parameters':" REF("OipParameters") "}}", NULL, NULL},
    {"OipUnloadRequest", "{'type':'object','properties':{'parameters':" REF("OipParameters") "}}", NULL,
     NULL},
    {"OipParameters",
     "{'type':['object','null'],'additionalProperties':{'type':['string','number','boolean']},'description':"
     "'null is as if it were not there'}",
     NULL, NULL},

    /* ---- OpenAI Images ---- */
    {"ImagesRequest",
     "{'type':'object','description':'prompt and user are taken and not looked "
     "at','properties':{'model':" NAME ",'prompt':{'type':'string'},'user':{'type':'string'},'n':{'type':'"
     "integer','minimum':1},'size':{'type':'string',"
     "'description':'auto, or the size of the images of the "
     "model'},'response_format':{'type':'string','enum':["
     "'b64_json']},'output_format':{'type':'string','enum':['png','jpeg','webp']},'output_compression':{'"
     "type':'integer',"
     "'minimum':0,'maximum':100},'seed':{'type':'integer','minimum':0},'steps':{'type':'integer','minimum':1}"
     ","
     "'solver':{'type':'string'},'direction':{'type':'string'}}}",
     NULL, NULL},
    {"ImagesForm",
     "{'type':'object','description':'prompt and user are taken and not looked "
     "at','properties':{'image':" FILES ",'image[]':" FILES ",'model':" NAME
     ",'prompt':{'type':'string'},'user':{'type':'string'},'n':{'type':'integer','minimum':1},'size':{'type':"
     "'string'},"
     "'response_format':{'type':'string','enum':['b64_json']},'output_format':{'type':'string','enum':['png',"
     "'jpeg',"
     "'webp']},'output_compression':{'type':'integer','minimum':0,'maximum':100},'seed':{'type':'integer','"
     "minimum':0},"
     "'steps':{'type':'integer','minimum':1},'solver':{'type':'string'},'direction':{'type':'string'}}}",
     NULL, NULL},
};
const size_t api_openapi_request_schema_count =
    sizeof api_openapi_request_schemas / sizeof api_openapi_request_schemas[0];
